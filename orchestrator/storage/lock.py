"""Locks by which a sweep has one driver at a time. ``SweepStore.lock`` says which of them a sweep has."""

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
"""Says when a sweep cannot be guarded."""


@contextmanager
def file_lock(path: Path, sweep_id: str) -> Iterator[None]:
    """Hold a file for the length of a block, and write this process's id into it.

    Args:
        path: The file, made if need be.
        sweep_id: What is guarded, for messages.

    Raises:
        SweepBusyError: another process holds it.
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
    """Hold a sweep of a storage without files by a file in the user's cache; where none can be written, only warn.

    Args:
        identity: Tells the sweep from those of all other storages.
        sweep_id: What is guarded, for messages.

    Raises:
        SweepBusyError: another process of this user on this machine holds it.
    """
    path = cache_folder() / "locks" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:  # a home that is read-only is no reason not to run
        logger.warning("sweep %s is not guarded against a second driver: %s", sweep_id, error)
        yield
        return
    with file_lock(path, sweep_id):
        yield
