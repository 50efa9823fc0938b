"""One driver at a time for each sweep."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import SweepBusyError
from orchestrator.storage import layout, local_path
from trainables.compute.compile_cache import cache_folder
from trainables.storage.object_store import ObjectStore

logger = logging.getLogger("zskt.lock")
"""Says when a sweep cannot be guarded."""


@contextmanager
def sweep_lock(store: ObjectStore, sweep_id: str) -> Iterator[None]:
    """Hold a sweep for the length of a block; the system lets go of it however the process ends.

    The lock of a sweep on a local disk lies beside its study. An object cannot be locked, so the lock of one elsewhere lies
    in the user's cache on this machine: a second ``ray submit`` to the same head is refused, but a driver on another
    machine, or of another user, is not, and must not be started.

    Raises:
        SweepBusyError: another process holds it.
    """
    path = local_path(store, f"{layout.study_folder(sweep_id)}/driver.lock")
    if path is None:
        path = _lock_in_cache(store, sweep_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:  # a home that is read-only is no reason not to run
            logger.warning("sweep %s is not guarded against a second driver: %s", sweep_id, error)
            yield
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise SweepBusyError(
                f"sweep {sweep_id} is being run by process {file.read().strip() or 'unknown'}; wait for it, stop it, or "
                "choose another --sweep-id"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_in_cache(store: ObjectStore, sweep_id: str) -> Path:
    """The same file for the same sweep, however its storage was named."""
    from trainables.storage.filesystems.s3 import S3Filesystem  # brings boto3, which a local folder does without

    service = store.filesystem.endpoint if isinstance(store.filesystem, S3Filesystem) else None
    identity = f"{service or ''} {store.shown(sweep_id)}"
    return cache_folder() / "locks" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.lock"
