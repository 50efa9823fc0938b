"""Accuracy over floating-point operations: a comparison of methods whose costs for each update differ."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.formatting import operation_unit
from orchestrator.report.data import Trial
from orchestrator.report.figures.style import add_mean_curve, figure, log_ticks, metric_axis
from trainables.metrics import finite

OPERATIONS = "training_flops"

_ALIKE = 1.01
"""Maximum ratio of the operations of two trials that count as equal."""


def operation_curves(trials: Sequence[Trial], metric: str) -> go.Figure | None:
    """Draw the mean of each case over its seeds against the operations used.

    A band shows one population standard deviation on each side.

    Args:
        trials: Trials of a sweep of cases.
        metric: Metric that is drawn.

    Returns:
        The figure. None if there is nothing to draw, or if all trials use the same operations, so that curves over the
        budget show the same.
    """
    ends = [finite(trial.reports[-1].get(OPERATIONS)) or 0 for trial in trials if trial.state.ended and trial.reports]
    if not ends or max(ends) <= _ALIKE * min(ends):
        return None
    cases: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.case is not None and trial.state.ended and _points(trial, metric):
            cases.setdefault(trial.case, []).append(trial)
    if not cases:
        return None
    size, unit = operation_unit(max(ends))
    starts = [_points(trial, metric)[0][0] for of_case in cases.values() for trial in of_case]
    axis = {
        "title": {"text": f"operations of training, {unit}"},
        "type": "log",
        "tickmode": "array",
        "tickvals": log_ticks(min(starts) / size, max(ends) / size),
    }
    made = figure(x=axis, y=metric_axis(metric))
    for number, (case, of_case) in enumerate(cases.items()):
        curves = [_points(trial, metric) for trial in of_case]
        places = min(map(len, curves))  # seeds of a case report at the same places
        xs = [statistics.fmean(curve[place][0] for curve in curves) / size for place in range(places)]
        columns = [[curve[place][1] for curve in curves] for place in range(places)]
        means = [statistics.fmean(column) for column in columns]
        spreads = [statistics.pstdev(column) for column in columns]
        name = f"{case} (n={len(of_case)})"
        add_mean_curve(made, xs, means, spreads, metric=metric, number=number, name=name, group=case)
    return made


def _points(trial: Trial, metric: str) -> list[tuple[float, float]]:
    """Return the operations and the metric's value of each report that has both."""
    pairs = ((finite(report.get(OPERATIONS)), finite(report.get(metric))) for report in trial.reports)
    return [(operations, value) for operations, value in pairs if operations and value is not None]
