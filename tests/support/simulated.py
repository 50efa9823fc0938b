"""Time and signals of a test's own, to be handed to a session in place of the machine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When simulated time begins."""


class SimulatedClock:
    """Time that passes only while somebody sleeps, and then at once: see ``trainables.system.clock.Clock``."""

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self.seconds = 0.0
        """Since the start; a test may set them."""

        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class SimulatedSignals:
    """SIGTERM where a test says: see ``orchestrator.run.signals.Signals``."""

    def __init__(self) -> None:
        self._blocks = 0
        self._terminated = 0

    @contextmanager
    def terminate_like_interrupt(self) -> Iterator[Callable[[], bool]]:
        before = self._terminated
        self._blocks += 1
        try:
            yield lambda: self._terminated > before
        finally:
            self._blocks -= 1

    def terminate(self) -> None:
        """Do what SIGTERM does at this place."""
        assert self._blocks, "nobody handles SIGTERM here: the process would end"
        self._terminated += 1
        raise KeyboardInterrupt
