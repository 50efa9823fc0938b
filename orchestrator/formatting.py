"""Formatting of numbers for people: sizes, durations, settings, means with their deviation, and sparklines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 40
"""Maximum number of characters of a sparkline."""


def readable(size: int) -> str:
    """Format a number of bytes: ``1.4 MB``."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Format a duration: ``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def short(value: object, *, digits: int = 4, missing: str = "") -> str:
    """Format a setting or metric in few characters.

    Args:
        digits: Significant digits of a float.
        missing: Text for None.
    """
    if value is None:
        return missing
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def mean_and_deviation(values: Sequence[float], number: str, deviation: str | None = None) -> str:
    """Format the mean of values and their population standard deviation: ``0.912 ± 0.004``.

    Args:
        values: The values. Without any the text is empty; of a single value it is the mean alone.
        number: Format specification of the mean, such as ``.2%``.
        deviation: Format specification of the deviation. Defaults to ``number``.
    """
    if not values:
        return ""
    mean = format(statistics.fmean(values), number)
    return f"{mean} ± {format(statistics.pstdev(values), deviation or number)}" if len(values) > 1 else mean


def sparkline(values: Sequence[float]) -> str:
    """Draw numbers as a line of bars; of more than 40 numbers, evenly spaced ones that include the last."""
    step = -(-len(values) // _WIDEST)
    shown = values[::-1][::step][::-1]  # reversed twice, so that the last number is always shown
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


_OPERATION_UNITS = ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


def operation_unit(operations: float) -> tuple[float, str]:
    """Choose a unit for a number of floating-point operations; return the operations in one unit and its name."""
    return next(((size, name) for size, name in _OPERATION_UNITS if operations >= size), _OPERATION_UNITS[-1])
