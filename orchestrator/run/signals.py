"""Handles Ctrl-C and SIGTERM while a session runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Signals(Protocol):
    """Source of the signals that end a session. Passed as an argument, so that tests can end a session without signals."""

    def terminate_like_interrupt(self) -> AbstractContextManager[Callable[[], bool]]:
        """Make SIGTERM raise ``KeyboardInterrupt`` in a block, as Ctrl-C does.

        Returns:
            A context manager. Its value is a function that returns, after the block, whether the block was interrupted.
        """


class ProcessSignals:
    """The signals that this process receives: see ``Signals``."""

    @contextmanager
    def terminate_like_interrupt(self) -> Iterator[Callable[[], bool]]:
        """Treat SIGTERM as Ctrl-C within the block.

        Tune handles Ctrl-C by saving and stopping but has no handler for SIGTERM, which ``kubectl delete``, ``ray job stop``
        and shutdowns send. Other code in the block is interrupted as well. Only the main thread may set handlers; in other
        threads this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield lambda: False
            return

        def interrupt(*_: Any) -> None:
            if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for a process that a script started with &
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

        on_interrupt = signal.getsignal(signal.SIGINT)
        on_terminate = signal.signal(signal.SIGTERM, interrupt)
        ran_undisturbed = False
        try:
            yield lambda: not ran_undisturbed
            # Tune installs its own handler, removes it at the first Ctrl-C, and otherwise leaves it installed.
            ran_undisturbed = signal.getsignal(signal.SIGINT) is not on_interrupt
        finally:
            signal.signal(signal.SIGTERM, on_terminate)
            signal.signal(signal.SIGINT, on_interrupt)


PROCESS_SIGNALS = ProcessSignals()
"""The default value of all ``signals`` arguments."""
