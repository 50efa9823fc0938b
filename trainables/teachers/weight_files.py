"""Read files of weights as others leave them, without running code that a file may hold.

Formats: ``torch.save``, both its zip archives and the older ones, and safetensors. Tensors, numbers, texts and containers
are read. Of any other pickled object only the name of its class is kept, so that an optimizer's or a logger's object beside
the weights hinders nobody; NumPy arrays are read as tensors.
"""

from __future__ import annotations

import contextlib
import io
import pickletools
import re
import tarfile
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load_file

from trainables.errors import TeacherError

REMEDY = "save the weights alone: torch.save(model.state_dict(), FILE), or safetensors.torch.save_file"
"""What to do with a file that holds objects in place of weights."""

_HEAD = 512
"""Bytes by which a file is told from others."""

_STARTS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file that it stands for: run git lfs pull where it lies",
    b"\x89HDF": "is an HDF5 file, as Keras writes them; save a state dict of tensors with torch.save",
    b"\x93NUMPY": "is a single NumPy array; save a state dict of tensors with torch.save",
    b"\x1f\x8b": "is compressed by gzip: unpack it first",
}
"""What files that hold no weights begin with, and what is said of them."""


_OF_TENSORS = {
    "collections",
    "_codecs",
    "torch",
    "torch._utils",
    "torch._tensor",
    "torch.nn.parameter",
    "torch.storage",
}
"""Modules whose names stand in any file of tensors."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """Contents of a file of weights."""

    tensors: Mapping[str, torch.Tensor]
    """By the keys on the way to each, joined by dots, such as ``state_dict.module.conv1.weight``."""

    pickled: tuple[str, ...]
    """Classes and functions of the pickled objects that were not read, by full name, in their order in the file."""

    type_name: str
    """Class of the outermost object."""


def read_weight_file(path: Path, shown: str) -> WeightFile:
    """Read a file's tensors, into the CPU's memory.

    Args:
        path: The file.
        shown: What errors begin with.

    Raises:
        TeacherError: the file is missing, or is no file of weights, in one line that names what it is.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise TeacherError(f"{shown}: there is no such file") from error
    except IsADirectoryError as error:
        raise TeacherError(f"{shown} is a folder; name a file in it") from error
    except OSError as error:
        raise TeacherError(f"{shown} cannot be read: {error.strerror}") from error
    other = _other_format(path, head)
    if other:
        raise TeacherError(f"{shown} {other}")
    if _is_safetensors(head) or path.suffix == ".safetensors":
        try:
            return WeightFile(tensors=load_file(path), pickled=(), type_name="dict")
        except Exception as error:  # safetensors raises its own and others for a damaged file
            raise TeacherError(
                f"{shown} is a safetensors file that is damaged or was cut off: copy it again"
            ) from error
    names = _pickled_names(path)
    pickled = tuple(name for name in names if name.rpartition(".")[0] not in _OF_TENSORS)
    try:
        # torch's own names win over stand-ins.
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
            warnings.simplefilter("ignore")  # of old formats: nothing that who loads them can act on
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is no checkpoint
        what = (
            f"holds {_objects(pickled)}, which cannot be read without running code of the file; {REMEDY}"
            if pickled
            else "is damaged, or not written by torch.save or safetensors"
        )
        raise TeacherError(f"{shown} {what}") from error
    return WeightFile(tensors=dict(_tensors(content)), pickled=pickled, type_name=type(content).__name__)


def why_no_tensors(file: WeightFile) -> str:
    """Say what a file holds in place of tensors that can be loaded."""
    if not file.pickled:
        return f"holds no state dict (its content is a {file.type_name}); {REMEDY}"
    return f"holds {_objects(file.pickled)} and no state dict; {REMEDY}"


def _objects(names: tuple[str, ...]) -> str:
    more = f" and of others ({len(names) - 1})" if len(names) > 1 else ""
    return f"pickled objects of the class {names[0]}{more}"


def _other_format(path: Path, head: bytes) -> str:
    """Say what a file is that holds no weights; empty if it may hold some."""
    if not head:
        return "is empty: copy or download it again"
    for start, what in _STARTS.items():
        if head.startswith(start):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return (
            "is a web page (HTML or XML), not weights: the download was answered by a message; open the file to read it"
        )
    if head.startswith(b"PK\x03\x04") or tarfile.is_tarfile(path):
        return _other_archive(path)
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"is a text file that begins with {head[:40].decode()!r}, not weights"
    return ""


def _other_archive(path: Path) -> str:
    """Say what a zip or tar archive is that ``torch.save`` has not written; empty if it has."""
    if tarfile.is_tarfile(path):
        return "is a tar archive: unpack it first"
    if not zipfile.is_zipfile(path):
        return "was cut off while it was copied or written: copy it again"
    with zipfile.ZipFile(path) as archive:
        parts = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in parts:
        return "is a TorchScript archive; save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), FILE)"
    return "" if "data.pkl" in parts else "is a zip archive that torch.save has not written: unpack it first"


def _is_safetensors(head: bytes) -> bool:
    """Whether a file begins with the size of a JSON header and that header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000  # the format's own limit


def _pickled_names(path: Path) -> list[str]:
    """List the full names of the classes and functions that a file's pickles refer to; empty for what is no pickle."""
    names: dict[str, None] = {}
    with contextlib.suppress(Exception):  # no pickle: torch.load refuses it too, and what it is is told then
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                part = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                names |= dict.fromkeys(_referred(io.BytesIO(archive.read(part))))
        else:
            with path.open("rb") as file:
                for _ in range(4):  # the older format: a magic number, a version, facts on the machine, the content
                    names |= dict.fromkeys(_referred(file))
    return list(names)


def _referred(file: IO[bytes]) -> Iterator[str]:
    """Full names that the next pickle in a file refers to."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            # torch, like pickle, looks for names of Python 2 under those of Python 3.
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"


def _stand_in(name: str) -> Callable[..., Any]:
    """What takes the place of a class or function of this name while a file is read: it does nothing."""
    if name in {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}:
        return _Array
    if name == "numpy.dtype":
        return _NumberFormat
    # By its name a dict, such as collections.defaultdict: torch puts items into nothing else.
    return _UnreadDict if name.lower().endswith("dict") else type(name, (_Unread,), _KEY)


_KEY = {"__hash__": object.__hash__}
"""Lets a stand-in be an element of a set or a key."""


class _Unread(list[Any]):
    """Takes the place of a pickled object: its arguments and its state are not looked at.

    A list, since torch appends items to nothing else.
    """

    def __new__(cls, *_: Any, **__: Any) -> _Unread:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _UnreadDict(dict[Any, Any]):
    """Takes the place of a class of dicts: one of those two that torch fills, and the one that may have attributes too."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _NumberFormat(_Unread):
    """Takes the place of a NumPy dtype."""

    kind = ""
    order = "="

    def __init__(self, kind: Any, *_: Any) -> None:
        super().__init__()
        self.kind = str(kind)

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1]).replace("|", "=")


class _Array(_Unread):
    """Takes the place of a NumPy array, as ``tensor`` if it is one of numbers.

    NumPy's own way of reading one is not used: a file could have it take bytes for addresses of objects.
    """

    tensor: torch.Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, number, column_first, data = state
        if isinstance(number, _NumberFormat) and re.fullmatch("f[248]|[iu][1248]|b1", number.kind) and data:
            native = np.frombuffer(data, np.dtype(number.order + number.kind)).astype(number.kind)
            self.tensor = torch.from_numpy(native.reshape(shape, order="F" if column_first else "C").copy())


def _tensors(content: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors in a nest of mappings and lists, by the keys on the way to each, joined by dots."""
    if isinstance(content, _Array):
        content = content.tensor
    if isinstance(content, torch.Tensor):
        if content.layout is torch.strided and content.device.type == "cpu":
            yield ".".join(keys), content.detach()
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, (*keys, str(key)))
    elif isinstance(content, list | tuple) and not isinstance(content, _Unread):
        for index, value in enumerate(content):
            yield from _tensors(value, (*keys, str(index)))
