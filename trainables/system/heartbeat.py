"""Heartbeat of a trial's process: a file on its node that distinguishes a process that trains from one that hangs.

A trial's process touches the file after each pseudo batch or update, and removes the file when it stops training. The file
therefore exists only while heartbeats are expected: not during set-up and compilation, while the process waits for storage,
while transition curves are measured, or between two calls by the driver. The duration of these phases is not bounded.

The file decides which process is killed. It is therefore in a folder that only this user can enter, and the process holds a
lock on the file, which the kernel releases when the process ends. A file without a lock is ignored, even if another process
has the same process id by now.
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
"""Environment variable with the path of the session's private folder on this machine (``cluster.private_folder``)."""

_INTERVAL = 1.0
"""Minimum interval between two heartbeats in seconds, since a pseudo batch can take only a millisecond."""


class Heartbeat:
    """Heartbeat of one trial in this process."""

    def __init__(self, trial_id: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._trial_id = trial_id
        self._clock = clock
        self._file: FileIO | None = None
        self._beat_at: float | None = None

    def beat(self) -> None:
        """Record that this process is training."""
        now = self._clock.monotonic()
        if self._beat_at is not None and now - self._beat_at < _INTERVAL:
            return
        self._beat_at = now
        with suppress(OSError):  # without a file the process is not watched; a full disk must not end a trial
            if self._file is None:
                self._file = _locked_file(self._trial_id)
            os.utime(self._file.fileno())

    def stop(self) -> None:
        """Remove the file, since this process now does something other than training, of unknown duration."""
        self._beat_at = None
        if self._file is not None:
            with suppress(OSError):
                _file_of(os.getpid(), self._trial_id).unlink(missing_ok=True)
            self._file.close()
            self._file = None


def kill_if_stale(pid: int, trial_id: str, seconds: float) -> float | None:
    """Kill a trial's process on this node if its last heartbeat is at least ``seconds`` old.

    A process without a heartbeat file, which is not training, is never killed.

    Returns:
        The age of the last heartbeat in seconds if the process was killed; else None.
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
        os.kill(pid, signal.SIGKILL)  # a process that is stopped or stuck reacts to no other signal
    path.unlink(missing_ok=True)
    return age


def _locked_file(trial_id: str) -> FileIO:
    """Create and lock this process's file, and remove the files of processes that have ended.

    Raises:
        OSError: there is no folder that only this user can enter.
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
    """Return whether the process that created a file has ended.

    The lock taken for this test is a shared one, so that two simultaneous tests do not disturb each other.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_of(pid: int, trial_id: str) -> Path:
    """Return the path of a process's heartbeat file.

    Raises:
        OSError: there is no folder that only this user can enter.
    """
    return _folder() / f"alive-{pid}-{trial_id}"


def _folder() -> Path:
    """Return the session's private folder; on a node without one, a folder of this user in the temporary folder.

    Raises:
        PermissionError: the path belongs to other users or is accessible to them, or is no folder.
        OSError: the folder cannot be created.
    """
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"zskt-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only this user can enter")
    return folder
