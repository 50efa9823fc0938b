"""The heartbeat of a trial's process: a file on its node that tells a process that trains from one that hangs.

A trial's process touches the file after each pseudo batch or update, and removes it when it stops training. So it is there
only while beats can be expected: not during set-up and compilation, while storage keeps the process waiting, while
transition curves are measured, or while the driver has the word. Nobody can say how long those take.

The file decides which process is killed. So it lies in a folder that only this user can enter, and the process holds a lock
on it, which the kernel lets go when the process ends: a file that outlived its process speaks for nobody, even where another
process has the same number by now.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import tempfile
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path

from trainables.system.clock import SYSTEM_CLOCK, Clock

FOLDER = "ZSKT_PRIVATE_FOLDER"
"""Environment variable that names the private folder of a session on this machine (``cluster.private_folder``)."""

_INTERVAL = 1.0
"""Seconds between two beats, at least; a pseudo batch can take a millisecond."""


class Heartbeat:
    """The heartbeat of one trial in this process."""

    def __init__(self, trial_id: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._trial_id = trial_id
        self._clock = clock
        self._file: FileIO | None = None
        self._beat_at: float | None = None

    def beat(self) -> None:
        """Say that this process trains."""
        now = self._clock.monotonic()
        if self._beat_at is not None and now - self._beat_at < _INTERVAL:
            return
        self._beat_at = now
        with suppress(OSError):  # without a file nobody judges, and a full disk is no reason to stop
            if self._file is None:
                self._file = _locked_file(self._trial_id)
            os.utime(self._file.fileno())

    def stop(self) -> None:
        """Say that this process does something else now, which may take its time."""
        self._beat_at = None
        if self._file is not None:
            with suppress(OSError):
                _file_of(os.getpid(), self._trial_id).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def kill_if_stale(pid: int, trial_id: str, seconds: float) -> float | None:
    """Kill a process of this node that should train and whose last beat is at least ``seconds`` old.

    Returns:
        The age of its last beat in seconds, if the process was killed; else None.
    """
    try:
        path = _file_of(pid, trial_id)
        with path.open("rb") as file:
            if _is_abandoned(file.fileno()):
                path.unlink(missing_ok=True)
                return None
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    if age < seconds:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # one that is stopped or stuck in a call hears nothing else
    path.unlink(missing_ok=True)
    return age


def _locked_file(trial_id: str) -> FileIO:
    """Make this process's file, and clear those that killed processes have left.

    Raises:
        OSError: there is no folder that others cannot enter.
    """
    path = _file_of(os.getpid(), trial_id)
    for left in path.parent.glob("alive-*"):
        with suppress(OSError), left.open("rb") as found:
            if _is_abandoned(found.fileno()):
                left.unlink(missing_ok=True)
    file = FileIO(path, "w")
    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _is_abandoned(descriptor: int) -> bool:
    """Whether the process that made a file has ended. Shared, so that two who ask at once do not disturb each other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_of(pid: int, trial_id: str) -> Path:
    """Name a process's file.

    Raises:
        OSError: there is no folder that others cannot enter.
    """
    return _folder() / f"alive-{pid}-{trial_id}"


def _folder() -> Path:
    """The session's private folder; on a node that joined a cluster without one, a folder of this user's.

    Raises:
        PermissionError: what is there belongs to others, or is open to them.
        OSError: it cannot be made.
    """
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"zskt-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only this user can enter")
    return folder
