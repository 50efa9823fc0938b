"""Checkpoints: one safetensors file each, complete or absent, verified when loaded, and without executable code.

Tensors are stored as they are; everything else (counters, the config, the log) is JSON in the file's header, beside a
format version and a SHA-256 checksum of tensors and JSON. A checkpoint is one file rather than a folder, since every storage
publishes a single object completely or not at all.

Data that grows but never changes, such as the images of a pool, is stored apart as ``Piece``. A piece is written once,
before the first checkpoint that names it, and deleted when no kept checkpoint names it any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainables.errors import CheckpointError, DamagedCheckpointError
from trainables.storage.object_store import ObjectStore
from trainables.system.own_files import distrust

FORMAT_VERSION = 3
_SEPARATOR = "/"
_HEADER_KEY = "zskt"

_PIECES = "pieces"
"""Folder beside the trials' folders, with a folder of pieces for each trial."""

State = Mapping[str, Any]
"""Nested mappings whose leaves are tensors, pieces or JSON values; keys are strings without ``/``, or integers."""


@dataclass(frozen=True)
class Piece:
    """Part of a state that never changes after it was created."""

    name: str
    """Unique name among the pieces of a trial. Different tensors must have different names."""
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class StateCopy:
    """Copy of a training's state at one moment, in memory of its own on the CPU."""

    tensors: dict[str, torch.Tensor]
    values: str
    pieces: dict[str, Piece] = field(default_factory=dict)
    """Pieces by name. Not copied, since pieces never change."""

    def to_bytes(self) -> bytes:
        """Return the contents of the checkpoint file; equal states give equal bytes."""
        header = {
            "format_version": FORMAT_VERSION,
            "sha256": digest_of(self.tensors, self.values),
            "state": self.values,
        }
        # One entry, since safetensors writes several entries in any order, and equal states must give equal bytes.
        return save_tensors(self.tensors, metadata={_HEADER_KEY: json.dumps(header)})


def copy_state(state: State, *, whole: bool = False) -> StateCopy:
    """Copy a state to the CPU; training must wait for the copy, but not for writing.

    Args:
        state: State that ``state_dict`` returned.
        whole: Whether to include pieces as plain mappings, instead of keeping them apart.
    """
    tensors: dict[str, torch.Tensor] = {}
    pieces: dict[str, Piece] | None = None if whole else {}
    values = _split(state, "", tensors, pieces)
    # Copies, since safetensors refuses tensors that share memory, and a checkpoint must not change while training runs.
    copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    return StateCopy(copies, json.dumps(values), pieces or {})


def dump(state: State) -> bytes:
    """Return a state as the contents of one file, in which pieces are plain mappings."""
    return copy_state(state, whole=True).to_bytes()


def parse(
    data: bytes, *, origin: str, piece: Callable[[str], Mapping[str, torch.Tensor]] | None = None
) -> dict[str, Any]:
    """Return the state in a checkpoint file, with tensors on the CPU.

    Args:
        data: Contents of the file.
        origin: Name of the checkpoint, for messages.
        piece: Function that returns the tensors of a piece by its name. None means that a ``Piece`` has no tensors.

    Raises:
        DamagedCheckpointError: the file is truncated or its checksum is wrong.
        CheckpointError: another format version wrote the file.
    """
    try:
        tensors = load_tensors(data)
        header = _header(data)
        version, digest, text = header["format_version"], header["sha256"], header["state"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedCheckpointError(f"checkpoint {origin} cannot be read: {error}") from error
    if version != FORMAT_VERSION:
        newer = version > FORMAT_VERSION
        remedy = (
            "update zskt" if newer else "finish it with the version that wrote it, or give the sweep another --sweep-id"
        )
        raise CheckpointError(
            f"checkpoint {origin} has format {version}; this version reads {FORMAT_VERSION}: {remedy}"
        )
    if digest != digest_of(tensors, text):
        raise DamagedCheckpointError(f"checkpoint {origin} is damaged: its checksum is not the one it was written with")
    state: dict[str, Any] = _join(json.loads(text), tensors, piece or (lambda name: {}))
    distrust(state.get("config"))
    return state


class CheckpointStore:
    """Checkpoints of one sweep, ``<trial_id>/<done>.safetensors``, and their pieces, in ``pieces/<trial_id>/``."""

    def __init__(self, store: ObjectStore, *, keep: int = 2) -> None:
        """Open the checkpoints in a store.

        Args:
            store: The sweep's folder of checkpoints.
            keep: Number of checkpoints to keep of each trial; at least 2, so that a damaged checkpoint has a predecessor.
        """
        self._store = store
        self._keep = keep

    def save(self, trial_id: str, done: int, state: StateCopy) -> None:
        """Write a checkpoint and its missing pieces, then delete older ones.

        The newest ``keep`` checkpoints of the trial and the pieces that these checkpoints name are kept.
        """
        folder = f"{_PIECES}/{trial_id}"
        there = {_named(key): key for key in self._store.keys(folder)} if state.pieces else {}
        for name, piece in state.pieces.items():
            if name not in there:
                self._store.write(f"{folder}/{name}.safetensors", dump(piece.tensors))
        written = f"{trial_id}/{done:010d}.safetensors"
        self._store.write(written, state.to_bytes())
        keys = self._store.keys(trial_id)
        for key in keys[: -self._keep]:
            self._store.delete(key)
        if there.keys() - state.pieces.keys():
            older = [key for key in keys[-self._keep :] if key != written]
            named = state.pieces.keys() | {name for key in older for name in self._pieces_of(key)}
            self._store.delete_all(there[name] for name in there.keys() - named)

    def trial_ids(self) -> set[str]:
        """Return the ids of the trials that have checkpoints."""
        return {key.partition("/")[0] for key in self._store.keys("") if "/" in key} - {_PIECES}

    def drop_pieces(self, trial_id: str, *, but: Collection[str]) -> None:
        """Delete the pieces of an ended trial, except those that its last checkpoint names.

        Earlier checkpoints may then miss pieces, so that no trial can resume from them.

        Args:
            trial_id: Trial that has ended.
            but: Names of the pieces to keep.
        """
        keys = self._store.keys(f"{_PIECES}/{trial_id}")
        self._store.delete_all(key for key in keys if _named(key) not in but)

    def load_newest(self, trial_id: str, *, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """Load the newest checkpoint of a trial that can be read; None if there is none.

        A damaged checkpoint is deleted with a warning, since its file would count as newer than the checkpoints that the
        trial saves next. If a listed checkpoint no longer exists, another process of this trial, which is taken for lost but
        still runs, has saved newer checkpoints and deleted the listed one; the list is then read again.
        """
        seen: set[str] = set()
        while left := [key for key in self._store.keys(trial_id) if key not in seen]:
            key = left[-1]
            seen.add(key)
            try:
                return parse(self._store.read(key), origin=self._store.path(key), piece=self._reader(trial_id))
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                warn(f"{error}; removed it and went back to the one before, or to the start")
                self._store.delete(key)
        return None

    def _reader(self, trial_id: str) -> Callable[[str], Mapping[str, torch.Tensor]]:
        """Return a function that loads a piece of a trial; a damaged piece is deleted, so that it can be written again."""

        def read(name: str) -> Mapping[str, torch.Tensor]:
            key = f"{_PIECES}/{trial_id}/{name}.safetensors"
            try:
                return parse(self._store.read(key), origin=self._store.path(key))
            except FileNotFoundError as error:
                raise DamagedCheckpointError(f"checkpoint of {trial_id} names {key}, which does not exist") from error
            except DamagedCheckpointError:
                self._store.delete(key)
                raise

        return read

    def _pieces_of(self, key: str) -> set[str]:
        """Return the names of the pieces that a stored checkpoint names; empty if the checkpoint cannot be read."""
        found: set[str] = set()

        def note(name: str) -> Mapping[str, torch.Tensor]:
            found.add(name)
            return {}

        try:
            parse(self._store.read(key), origin=self._store.path(key), piece=note)
        except (FileNotFoundError, CheckpointError):
            return set()
        return found


def _named(key: str) -> str:
    """Return the name of a piece from its key."""
    return key.rpartition("/")[2].removesuffix(".safetensors")


class CheckpointSaver:
    """Saves the checkpoints of one trial in a thread while training continues, one at a time."""

    def __init__(self, store: CheckpointStore, trial_id: str) -> None:
        self._store = store
        self._trial_id = trial_id
        self._named: Collection[str] = ()
        """Names of the pieces in the last checkpoint."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, done: int, state: State) -> None:
        """Wait for the previous checkpoint, copy the state, and start to write the copy.

        Args:
            done: Pseudo batches or epochs that are done, by which the checkpoints of a trial are ordered.
            state: State that ``state_dict`` returned.

        Raises:
            OSError, pyarrow.ArrowException: writing the previous checkpoint failed. This one is written all the same.
        """
        try:
            self.wait()
        finally:
            copied = copy_state(state)
            self._named = copied.pieces.keys()
            self._writing = self._thread.submit(self._store.save, self._trial_id, done, copied)

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written. Training need not wait for slow storage but may skip a checkpoint."""
        return self._writing is not None and not self._writing.done()

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError, pyarrow.ArrowException: writing the checkpoint failed.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def drop_pieces(self) -> None:
        """Delete the pieces of the trial that its last checkpoint does not name."""
        self._store.drop_pieces(self._trial_id, but=self._named)

    def close(self) -> None:
        """Let the thread end after the write in progress, without waiting."""
        self._thread.shutdown(wait=False)


def _split(value: Any, path: str, tensors: dict[str, torch.Tensor], pieces: dict[str, Piece] | None) -> Any:
    """Return ``value`` as JSON values, with tensors moved into ``tensors`` and pieces into ``pieces``.

    Tensors and pieces are replaced by their keys. If ``pieces`` is None, a piece becomes a mapping of its tensors.
    """
    if isinstance(value, torch.Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Piece):
        if pieces is None:
            return _split(value.tensors, path, tensors, pieces)
        pieces[value.name] = value
        return {"piece": value.name}
    if isinstance(value, Mapping):
        # A list of pairs, since JSON would turn the optimizer's integer keys into strings.
        return {
            "items": [[key, _split(part, f"{path}{_SEPARATOR}{key}", tensors, pieces)] for key, part in value.items()]
        }
    return {"value": value}


def _join(value: Any, tensors: Mapping[str, torch.Tensor], piece: Callable[[str], Mapping[str, torch.Tensor]]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "piece" in value:
        return Piece(name=value["piece"], tensors=piece(value["piece"]))
    if "items" in value:
        return {key: _join(part, tensors, piece) for key, part in value["items"]}
    return value["value"]


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER_KEY])
    return header


def digest_of(tensors: Mapping[str, torch.Tensor], text: str = "") -> str:
    """Return the SHA-256 of named tensors on the CPU, with their types and shapes, and of a text."""
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
