"""One driver at a time for each sweep."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import SweepBusyError
from orchestrator.results import keys
from orchestrator.storage import local_path
from trainables.object_store import ObjectStore


@contextmanager
def sweep_lock(store: ObjectStore, sweep_id: str) -> Iterator[None]:
    """Hold a sweep for the length of a block; the system lets go of it however the process ends.

    On storages other than a local disk there is no such lock, and the user must not start a sweep twice at once.

    Raises:
        SweepBusyError: another process holds it.
    """
    path = local_path(store, f"{keys.study_folder(sweep_id)}/driver.lock")
    if path is None:
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
