"""Numbers of judgements in words: accuracies in percent and points, transition errors as they are."""

from __future__ import annotations

import math

from orchestrator.reproduction.published import Metric


def number(value: float, metric: Metric, *, signed: bool = False) -> str:
    """Format a value of this metric, without its unit."""
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}" if metric == "mean_transition_error" else f"{100 * value:{sign}.2f}"


def mean_and_std(mean: float, std: float | None, metric: Metric) -> str:
    """Format a mean, with its standard deviation where that is known (neither None nor nan)."""
    known = std is not None and not math.isnan(std)
    return number(mean, metric) + (f" ± {number(std or 0.0, metric)}" if known else "")


def unit(metric: Metric) -> str:
    """Return what follows a value of this metric."""
    return "" if metric == "mean_transition_error" else " %"


def interval(low: float, high: float, metric: Metric, *, signed: bool = False) -> str:
    """Format an interval in brackets; empty if it is not known (nan)."""
    if math.isnan(low):
        return ""
    return f" [{number(low, metric, signed=signed)}, {number(high, metric, signed=signed)}]"


def value_range(low: float, high: float, metric: Metric) -> str:
    """Format a range of values, with its unit."""
    return f"{number(low, metric)} to {number(high, metric)}{unit(metric)}"


def amount(size: float, metric: Metric) -> str:
    """Format a difference of values, with its unit."""
    return number(size, metric) + ("" if metric == "mean_transition_error" else " points")
