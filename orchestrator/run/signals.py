"""Ctrl-C and SIGTERM while a session runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
