"""Formatting of the numbers of judgements: accuracies in percent and points, transition errors without a unit."""

from __future__ import annotations

import math

from orchestrator.reproduction.published import Metric


def number(value: float, metric: Metric, *, signed: bool = False) -> str:
    """Format a value of a metric without its unit."""
    sign = "+" if signed else ""
    return f"{value:{sign}.4f}" if metric == "mean_transition_error" else f"{100 * value:{sign}.2f}"


def mean_and_std(mean: float, std: float | None, metric: Metric) -> str:
    """Format a mean, followed by its standard deviation unless that is None or nan."""
    known = std is not None and not math.isnan(std)
    return number(mean, metric) + (f" ± {number(std or 0.0, metric)}" if known else "")


def unit(metric: Metric) -> str:
    """Return the unit of a metric, as it follows a value."""
    return "" if metric == "mean_transition_error" else " %"


def interval(low: float, high: float, metric: Metric, *, signed: bool = False) -> str:
    """Format an interval in brackets; empty if its lower end is nan."""
    if math.isnan(low):
        return ""
    return f" [{number(low, metric, signed=signed)}, {number(high, metric, signed=signed)}]"


def value_range(low: float, high: float, metric: Metric) -> str:
    """Format a range of a metric's values with its unit."""
    return f"{number(low, metric)} to {number(high, metric)}{unit(metric)}"


def amount(size: float, metric: Metric) -> str:
    """Format the size of a difference of a metric's values with its unit."""
    return number(size, metric) + ("" if metric == "mean_transition_error" else " points")
