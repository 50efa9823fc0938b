"""Locks that give a sweep one driver at a time. ``SweepStore.lock`` chooses the lock of a sweep."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import SweepBusyError
from trainables.storage.user_cache import cache_folder

logger = logging.getLogger("zskt.lock")
"""Logger that warns when a sweep cannot be locked."""


@contextmanager
def file_lock(path: Path, sweep_id: str) -> Iterator[None]:
    """Lock a file for the length of a block, and write this process's id into the file.

    Args:
        path: The file, created if it does not exist.
        sweep_id: The sweep that the lock guards, for messages.

    Raises:
        SweepBusyError: another process holds the lock.
    """
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


@contextmanager
def lock_in_cache(identity: str, sweep_id: str) -> Iterator[None]:
    """Lock a sweep in an object store by a file in the user's cache; only warn if that file cannot be written.

    Args:
        identity: Text that distinguishes the sweep from the sweeps of all other storages.
        sweep_id: The sweep that the lock guards, for messages.

    Raises:
        SweepBusyError: another process of this user on this machine holds the lock.
    """
    path = cache_folder() / "locks" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:  # the sweep can run although the home directory is read-only
        logger.warning("sweep %s is not guarded against a second driver: %s", sweep_id, error)
        yield
        return
    with file_lock(path, sweep_id):
        yield
