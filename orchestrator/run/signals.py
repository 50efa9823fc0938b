"""What Tune reads from the process around it: environment variables and signals; and where warnings are shown."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from cluster.credentials import SECRET_VARIABLES
from orchestrator.output import Output

_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the result store takes their place
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner names a scratch folder; progress.py shows what matters
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a trial as in the driver
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # each failure is a line of progress.py and a row, without its stack trace
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # its own state of a sweep, which nobody reads, takes longer with each trial
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # checkpoints are on storage; a trial in mid-step need not be waited for
}


@contextmanager
def tune_environment() -> Iterator[None]:
    """Tune's settings for the length of a block; environment variables that the user has set stay.

    Keys to storage do not go to trials by Tune's way, as a runtime environment, which Ray writes in clear into its logs.
    """
    from ray.tune.execution import class_cache  # no public way

    handed_on = class_cache.ENV_VARS_TO_PROPAGATE

    # Tune's notes are about its own files and analysis; how trials ended is said by progress.py and the leaderboard.
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    added = {key: value for key, value in _TUNE_SETTINGS.items() if key not in os.environ}
    os.environ.update(added)
    withheld = SECRET_VARIABLES & handed_on
    handed_on -= withheld
    try:
        yield
    finally:
        handed_on |= withheld
        logger.setLevel(level)
        for key in added:
            del os.environ[key]


class _Shown(logging.Handler):
    """Gives messages to a function that prints them."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def warnings_shown(console: Console) -> Iterator[None]:
    """Print what the package warns of (storage that keeps it waiting, results that cannot be read) above the display.

    Without this, as in programs of others, Python's logging prints it to standard error.
    """
    logger = logging.getLogger("zskt")
    handler = _Shown(Output(console).warn)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def terminate_like_interrupt() -> Iterator[Callable[[], bool]]:
    """Treat SIGTERM as Ctrl-C, which Tune handles by saving and stopping; for SIGTERM it has no handler.

    What else runs in the block is interrupted, too.

    ``kubectl delete``, ``ray job stop`` and shutdowns send SIGTERM. Only the main thread may set handlers; elsewhere
    nothing is done. Gives a function that says, after a run of Tune, whether that was interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def interrupt(*_: Any) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a script has started with &
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT)

    on_interrupt = signal.getsignal(signal.SIGINT)
    on_terminate = signal.signal(signal.SIGTERM, interrupt)
    ran_undisturbed = False
    try:
        yield lambda: not ran_undisturbed
        # Tune puts a handler of its own in place, takes it away at the first Ctrl-C, and otherwise forgets it there.
        ran_undisturbed = signal.getsignal(signal.SIGINT) is not on_interrupt
    finally:
        signal.signal(signal.SIGTERM, on_terminate)
        signal.signal(signal.SIGINT, on_interrupt)
