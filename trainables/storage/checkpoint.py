"""Checkpoints: one safetensors file each, complete or absent, verified when read, and free of code.

Tensors are stored as they are; everything else (counters, optimizer settings, the config) is JSON in the file's
header, beside a format version and a SHA-256 over all of it. One file rather than a folder, because one object is
published whole by every storage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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

State = Mapping[str, Any]
"""Nested mappings whose leaves are tensors or JSON values; keys are strings without ``/``, or integers."""


@dataclass(frozen=True)
class StateCopy:
    """Copy of a training's state at one moment, in memory of its own."""

    tensors: dict[str, torch.Tensor]
    values: str

    def to_bytes(self) -> bytes:
        """Serialise it. The same state gives the same bytes, except for tensors on different devices."""
        header = {"format_version": FORMAT_VERSION, "sha256": _digest(self.values, self.tensors), "state": self.values}
        # One entry, since safetensors writes several in any order and equal states are to give equal bytes.
        return save_tensors(self.tensors, metadata={_HEADER_KEY: json.dumps(header)})


def copy_state(state: State) -> StateCopy:
    """Copy a state to the CPU, which is all that training has to wait for."""
    tensors: dict[str, torch.Tensor] = {}
    values = _split(state, "", tensors)
    # safetensors refuses tensors that share memory; a checkpoint must not change with training either.
    copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
    return StateCopy(copies, json.dumps(values))


def dump(state: State) -> bytes:
    """Copy a state and serialise it."""
    return copy_state(state).to_bytes()


def parse(data: bytes, *, origin: str) -> dict[str, Any]:
    """Read what ``dump`` wrote; tensors come back on the CPU.

    Args:
        origin: Name of the checkpoint, for messages.

    Raises:
        DamagedCheckpointError: truncated, or its checksum is wrong.
        CheckpointError: written by another version.
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
    if digest != _digest(text, tensors):
        raise DamagedCheckpointError(f"checkpoint {origin} is damaged: its checksum is not the one it was written with")
    state: dict[str, Any] = _join(json.loads(text), tensors)
    distrust(state.get("config"))
    return state


class CheckpointStore:
    """The checkpoints of one sweep: ``<trial_id>/<pseudo_batches>.safetensors``."""

    def __init__(self, store: ObjectStore, *, keep: int = 2) -> None:
        """Args: keep: How many checkpoints of a trial are kept, at least 2, so that a damaged one has a predecessor."""
        self._store = store
        self._keep = keep

    def save(self, trial_id: str, done: int, state: StateCopy) -> None:
        """Publish a checkpoint, then remove all but the newest few of this trial."""
        self._store.write(f"{trial_id}/{done:010d}.safetensors", state.to_bytes())
        for key in self._store.keys(trial_id)[: -self._keep]:
            self._store.delete(key)

    def load_newest(self, trial_id: str, *, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest checkpoint of a trial that can be read, or none.

        A damaged one is removed with a warning, since it would pass for newer than those that the trial saves next. One that
        is gone was removed by a process that is lost but does not know it yet, and which has saved newer ones.
        """
        seen: set[str] = set()
        while left := [key for key in self._store.keys(trial_id) if key not in seen]:
            key = left[-1]
            seen.add(key)
            try:
                return parse(self._store.read(key), origin=self._store.path(key))
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as error:
                warn(f"{error}; removed it and went back to the one before, or to the start")
                self._store.delete(key)
        return None


class CheckpointSaver:
    """Saves the checkpoints of one trial while it goes on training, one at a time."""

    def __init__(self, store: CheckpointStore, trial_id: str) -> None:
        self._store = store
        self._trial_id = trial_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, done: int, state: State) -> None:
        """Copy the state and begin to write it, once the one before is written.

        Args:
            done: Pseudo batches or epochs; orders the checkpoints of a trial.
            state: What ``state_dict`` gave.

        Raises:
            OSError, pyarrow.ArrowException: from writing the one before; this one is begun all the same.
        """
        try:
            self.wait()
        finally:
            self._writing = self._thread.submit(self._store.save, self._trial_id, done, copy_state(state))

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written: while storage is slow, training need not wait for it."""
        return self._writing is not None and not self._writing.done()

    def wait(self) -> None:
        """Until the last checkpoint is written.

        Raises:
            OSError, pyarrow.ArrowException: it could not be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Let the thread end when it has written what it was given."""
        self._thread.shutdown(wait=False)


def _split(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Move the tensors below ``value`` into ``tensors``, leaving their keys in what is returned."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        # A list of pairs, since JSON would turn the optimizer's integer keys into strings.
        return {"items": [[key, _split(part, f"{path}{_SEPARATOR}{key}", tensors)] for key, part in value.items()]}
    return {"value": value}


def _join(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "items" in value:
        return {key: _join(part, tensors) for key, part in value["items"]}
    return value["value"]


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER_KEY])
    return header


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
