"""The report's figures: functions that take data and return a plotly figure, or None if there is nothing to draw."""

from __future__ import annotations

from orchestrator.report.figures.costs import cost_figure
from orchestrator.report.figures.curves import case_curves, comparison_figure, trial_curves
from orchestrator.report.figures.front import front_figure
from orchestrator.report.figures.images import class_histogram, health_figures
from orchestrator.report.figures.map import accuracy_map, map_axes
from orchestrator.report.figures.operations import operation_curves
from orchestrator.report.figures.search import (
    history_figure,
    importance_figure,
    parallel_figure,
    rank_figure,
    slice_figures,
)

__all__ = [
    "accuracy_map",
    "case_curves",
    "class_histogram",
    "comparison_figure",
    "cost_figure",
    "front_figure",
    "health_figures",
    "history_figure",
    "importance_figure",
    "map_axes",
    "operation_curves",
    "parallel_figure",
    "rank_figure",
    "slice_figures",
    "trial_curves",
]
