"""From a URI to a place for bytes, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from orchestrator.errors import StorageError
from trainables.object_store import ObjectStore

_PROBE = ".zskt-probe"


def open_storage(uri: str) -> ObjectStore:
    """Open a folder (``./runs``, ``file:///...``) or what pyarrow reads of ``s3://...`` and ``gs://...``.

    A folder is made if need be. A few bytes are written, read and deleted, so that a wrong address or missing rights
    show now and not after an hour.

    Raises:
        StorageError: the place cannot be used; the message says why.
    """
    store = _locate(uri)
    try:
        store.write(_PROBE, b"zskt")
        intact = store.read(_PROBE) == b"zskt"
        store.delete(_PROBE)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"storage {shown(uri)} cannot be written to: {error}") from error
    if not intact:
        raise StorageError(f"storage {shown(uri)} does not give back what was written")
    return store


def find_storage(uri: str) -> ObjectStore:
    """Open a storage for reading; nothing is created or checked."""
    return _locate(uri)


def local_path(store: ObjectStore, key: str) -> Path | None:
    """Where an object lies on this machine's disk, or none for a storage elsewhere."""
    return Path(store.path(key)) if isinstance(store.filesystem, fs.LocalFileSystem) else None


def _locate(uri: str) -> ObjectStore:
    if "://" not in uri:
        return ObjectStore(filesystem=fs.LocalFileSystem(), root=str(Path(uri).expanduser().resolve()))
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StorageError(f"storage {shown(uri)} is not an address that can be opened: {error}") from error
    return ObjectStore(filesystem=filesystem, root=root.rstrip("/"))


def shown(uri: str) -> str:
    """A storage's address as it may be shown: without its query, which can hold more than the user wants to see."""
    return uri.partition("?")[0] if "://" in uri else uri
