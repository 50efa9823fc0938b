"""Cache of objects on this node's disk, which all processes of the node share."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore
from trainables.storage.user_cache import cache_folder


class NodeCache:
    """Folder with copies of objects, by default ``cache_folder()``. The folder may be deleted at any time.

    A changed object gets a new copy. If several processes fetch an object at once, one downloads and the others wait.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_folder()

    def fetch(self, store: ObjectStore, key: str) -> Path:
        """Return the path of a file with the object's bytes, downloading it if needed.

        For a local store, the object's own file; its existence is not checked.

        Raises:
            FileNotFoundError: the object does not exist in a store that is not local.
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
