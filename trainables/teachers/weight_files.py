"""Read published files of weights, without running code that a file may contain.

Formats: ``torch.save``, both zip archives and the older format, and safetensors. Tensors, numbers, strings and containers
are read; NumPy arrays are read as tensors. For any other pickled object only the name of its class is kept, so that a file
can be read even if it contains objects of an optimizer or a logger.
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
"""Remedy for a file that contains objects in place of weights."""

_HEAD = 512
"""Number of bytes at the beginning of a file from which its format is recognised."""

_STARTS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: run git lfs pull in its repository",
    b"\x89HDF": "is an HDF5 file, as Keras writes them; save a state dict of tensors with torch.save",
    b"\x93NUMPY": "is a single NumPy array; save a state dict of tensors with torch.save",
    b"\x1f\x8b": "is compressed by gzip: unpack it first",
}
"""Messages about files that contain no weights, by the bytes that such files begin with."""


_OF_TENSORS = {
    "collections",
    "_codecs",
    "torch",
    "torch._utils",
    "torch._tensor",
    "torch.nn.parameter",
    "torch.storage",
}
"""Modules that pickles of plain tensors refer to."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """Contents of a file of weights."""

    tensors: Mapping[str, torch.Tensor]
    """Tensors by the path of keys to each, joined by dots, such as ``state_dict.module.conv1.weight``."""

    pickled: tuple[str, ...]
    """Full names of the classes and functions of pickled objects that were not read, in their order in the file."""

    type_name: str
    """Name of the outermost object's class."""


def read_weight_file(path: Path, shown: str) -> WeightFile:
    """Read a file's tensors into the CPU's memory.

    Args:
        path: File of weights.
        shown: Beginning of error messages.

    Raises:
        TeacherError: the file is missing, damaged or no file of weights; the message says in one line what the file is.
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
        # torch's own allowed names take precedence over stand-ins.
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
            warnings.simplefilter("ignore")  # warnings about old formats, which the user cannot act on
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
    """Return a message that says what a file contains in place of loadable tensors."""
    if not file.pickled:
        return f"holds no state dict (its content is a {file.type_name}); {REMEDY}"
    return f"holds {_objects(file.pickled)} and no state dict; {REMEDY}"


def _objects(names: tuple[str, ...]) -> str:
    more = f" and of others ({len(names) - 1})" if len(names) > 1 else ""
    return f"pickled objects of the class {names[0]}{more}"


def _other_format(path: Path, head: bytes) -> str:
    """Return a message about a file of another format; empty if the file may contain weights."""
    if not head:
        return "is empty: copy or download it again"
    for start, what in _STARTS.items():
        if head.startswith(start):
            return what
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "is a web page (HTML or XML), not weights: the server sent a message instead; open the file to read it"
    if head.startswith(b"PK\x03\x04") or tarfile.is_tarfile(path):
        return _other_archive(path)
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"is a text file that begins with {head[:40].decode()!r}, not weights"
    return ""


def _other_archive(path: Path) -> str:
    """Return a message about a zip or tar archive that ``torch.save`` has not written; empty if it has."""
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
    """Return whether a file begins with the size of a JSON header and a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000  # the format's own limit


def _pickled_names(path: Path) -> list[str]:
    """Return the full names of the classes and functions that a file's pickles refer to; empty if there is no pickle."""
    names: dict[str, None] = {}
    with contextlib.suppress(Exception):  # not a pickle: torch.load will fail too, and its error is reported
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                part = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                names |= dict.fromkeys(_referred(io.BytesIO(archive.read(part))))
        else:
            with path.open("rb") as file:
                for _ in range(4):  # the older format has four: magic number, version, machine, content
                    names |= dict.fromkeys(_referred(file))
    return list(names)


def _referred(file: IO[bytes]) -> Iterator[str]:
    """Yield the full names that the next pickle in a file refers to."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            # Like pickle, torch maps names of Python 2 to those of Python 3.
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"


def _stand_in(name: str) -> Callable[..., Any]:
    """Return a harmless replacement for the class or function with a name, for use while a file is read."""
    if name in {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}:
        return _Array
    if name == "numpy.dtype":
        return _NumberFormat
    # A name that ends in dict, such as collections.defaultdict, is taken for a dict, since torch fills only dicts with
    # items.
    return _UnreadDict if name.lower().endswith("dict") else type(name, (_Unread,), _KEY)


_KEY = {"__hash__": object.__hash__}
"""Class attributes that make a stand-in hashable, so that it can be an element of a set or a key."""


class _Unread(list[Any]):
    """Stand-in for a pickled object that ignores arguments and state.

    It is a list, since torch appends items only to lists.
    """

    def __new__(cls, *_: Any, **__: Any) -> _Unread:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _UnreadDict(dict[Any, Any]):
    """Stand-in for a class of dicts: creates an OrderedDict, which torch can fill and which may also have attributes."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _NumberFormat(_Unread):
    """Stand-in for a NumPy dtype."""

    kind = ""
    order = "="

    def __init__(self, kind: Any, *_: Any) -> None:
        super().__init__()
        self.kind = str(kind)

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1]).replace("|", "=")


class _Array(_Unread):
    """Stand-in for a NumPy array; an array of numbers is in ``tensor``.

    NumPy's own unpickling is not used, since a malicious file could make it take bytes for addresses of objects.
    """

    tensor: torch.Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, number, column_first, data = state
        if isinstance(number, _NumberFormat) and re.fullmatch("f[248]|[iu][1248]|b1", number.kind) and data:
            native = np.frombuffer(data, np.dtype(number.order + number.kind)).astype(number.kind)
            self.tensor = torch.from_numpy(native.reshape(shape, order="F" if column_first else "C").copy())


def _tensors(content: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors in nested mappings and lists, each with the path of keys to the tensor, joined by dots."""
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
