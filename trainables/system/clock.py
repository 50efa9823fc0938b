"""Clocks: time of day, elapsed seconds and waiting in one object that is passed in, real or simulated."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Clock that tells the time and waits.

    Every time that a sweep stores, prints or bases a decision on comes from the clock of the session.
    """

    def now(self) -> datetime:
        """Return the time of day, in UTC."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary fixed moment; never decreases."""

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""


@dataclass(frozen=True)
class SystemClock:
    """The machine's own clock, see ``Clock``. Can be pickled; all instances are equal."""

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary fixed moment; never decreases."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
"""Default for every parameter that takes a clock."""
