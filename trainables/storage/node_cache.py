"""Copies of objects on this machine's disk, fetched once and used by all its processes."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore
from trainables.storage.user_cache import cache_folder


class NodeCache:
    """A folder of copies, by default ``cache_folder()``. It may be deleted at any time.

    An object that changes gets another copy. Of several processes that ask at once one downloads and the others wait.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder()

    def fetch(self, store: ObjectStore, key: str) -> Path:
        """A file with the object's bytes: the object itself where it lies on this machine anyway.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if isinstance(store.filesystem, LocalFilesystem):
            return Path(store.path(key))
        identity = f"{store.shown(key)} {store.version(key)}"
        copy = self._folder / hashlib.sha256(identity.encode()).hexdigest()[:32]
        if not copy.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            with copy.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not copy.exists():
                    LocalFilesystem().write(str(copy), store.read(key))
        return copy
