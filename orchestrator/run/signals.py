"""Ctrl-C and SIGTERM while a session runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Signals(Protocol):
    """How a session learns that it is to end: handed to it, so that it may be told without a signal to the process."""

    def terminate_like_interrupt(self) -> AbstractContextManager[Callable[[], bool]]:
        """Have SIGTERM raise ``KeyboardInterrupt`` in a block, as Ctrl-C does.

        Returns:
            A context manager whose value says, after the block, whether it was interrupted.
        """


class ProcessSignals:
    """Signals that this process is sent: see ``Signals``."""

    @contextmanager
    def terminate_like_interrupt(self) -> Iterator[Callable[[], bool]]:
        """Treat SIGTERM as Ctrl-C, which Tune handles by saving and stopping; for SIGTERM it has no handler.

        What else runs in the block is interrupted, too.

        ``kubectl delete``, ``ray job stop`` and shutdowns send SIGTERM. Only the main thread may set handlers; elsewhere
        nothing is done.
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


PROCESS_SIGNALS = ProcessSignals()
"""The default wherever signals are handed in."""
