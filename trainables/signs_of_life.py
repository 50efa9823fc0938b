"""Tells a process that trains from one that hangs, by a file on its node.

A trial's process touches the file after each pseudo batch or update, and removes it when it stops training. So it is there
only while signs can be expected: not during set-up and compilation, while storage keeps the process waiting, while
transition curves are measured, or while the driver has the word. Nobody can say how long those take.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_OFTEN_ENOUGH = 1.0
"""Seconds between two signs; a pseudo batch can take a millisecond."""


class SignsOfLife:
    """Those of one trial in this process."""

    def __init__(self, trial_id: str) -> None:
        self._file = _file_of(os.getpid(), trial_id)
        self._given_at: float | None = None

    def give(self) -> None:
        """This process trains."""
        now = time.monotonic()
        if self._given_at is None or now - self._given_at >= _OFTEN_ENOUGH:
            self._given_at = now
            with suppress(OSError):  # without a sign nobody judges, and a full disk is no reason to stop
                self._file.touch()

    def withdraw(self) -> None:
        """It does something else now, and may take its time."""
        self._given_at = None
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def end_if_lifeless(pid: int, trial_id: str, seconds: float) -> float | None:
    """End a process of this node that should train and has given no sign for so long.

    Returns:
        For how many seconds it had given none, if it was ended; else none.
    """
    file = _file_of(pid, trial_id)
    try:
        silent = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return None
    if silent < seconds:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # one that is stopped or stuck in a call hears nothing else
    file.unlink(missing_ok=True)
    return silent


def _file_of(pid: int, trial_id: str) -> Path:
    return Path(tempfile.gettempdir()) / f"zskt-alive-{pid}-{trial_id}"
