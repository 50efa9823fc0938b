"""The time of day, seconds that pass, and waiting, as one value that is handed in: the machine's, or a simulated one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits.

    What a sweep keeps, prints or decides about time, it has from the clock of its session.
    """

    def now(self) -> datetime:
        """Return the time of day, in UTC."""

    def monotonic(self) -> float:
        """Return seconds since some moment, which never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True)
class SystemClock:
    """The machine's own clock: see ``Clock``. Can be pickled; all of them are equal."""

    def now(self) -> datetime:
        """See ``Clock``."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
"""The default wherever a clock is handed in."""
