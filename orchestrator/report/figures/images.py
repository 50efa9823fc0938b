"""Figures of the pseudo images: the classes, confidences and class entropies of teacher and student on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from orchestrator.report.data import Trial, words
from orchestrator.report.figures.style import BLUE, VERMILION, figure
from trainables.metrics import finite

_METRICS = {
    "confidence": ("teacher_confidence", "student_confidence"),
    "class entropy": ("teacher_class_entropy", "student_class_entropy"),
}


def health_figures(trials: Mapping[str, Trial]) -> dict[str, go.Figure]:
    """Draw confidences and class entropies on pseudo images over the budget.

    Teacher lines are solid, student lines dashed, and each trial has a colour.

    Args:
        trials: Trials by their label in the legend; at most two are drawn.

    Returns:
        Figures by title; titles without data are left out.
    """
    figures = {}
    for title, metrics in _METRICS.items():
        made = figure(
            x={"title": {"text": "share of the budget used"}, "tickformat": ".0%", "range": [0, 1.03]},
            y={"title": {"text": title}, "range": [0, 1.05]},
            height=360,
        )
        for (label, trial), colour in zip(trials.items(), (BLUE, VERMILION), strict=False):
            for metric, who, dash in zip(metrics, ("teacher", "student"), ("solid", "dash"), strict=True):
                points = [
                    (share, value)
                    for share, report in zip(trial.shares, trial.reports, strict=bool(trial.shares))
                    if (value := finite(report.get(metric))) is not None
                ]
                if points:
                    made.add_scatter(
                        x=[share for share, _ in points],
                        y=[value for _, value in points],
                        mode="lines",
                        line={"color": colour, "dash": dash, "width": 2},
                        name=f"{label}, {who}",
                        hovertemplate=f"{label}, {who}: %{{y:.3f}}<extra></extra>",
                    )
        if made.data:
            figures[title] = made
    return figures


def class_histogram(teacher: Sequence[int], student: Sequence[int]) -> go.Figure:
    """Draw how many of the same pseudo images teacher and student assign to each class.

    Args:
        teacher: The teacher's number of images for each class, (classes,).
        student: The student's number of images for each class, (classes,).
    """
    made = figure(
        x={"title": {"text": "class"}, "dtick": 1 if len(teacher) <= 20 else 10},
        y={"title": {"text": "pseudo images"}},
        height=300,
    )
    for name, counts, colour in (("teacher", teacher, BLUE), ("student", student, VERMILION)):
        made.add_bar(
            x=list(range(len(counts))),
            y=list(counts),
            name=name,
            marker={"color": colour},
            hovertemplate=f"{words(name)}, class %{{x}}: %{{y}}<extra></extra>",
        )
    made.update_layout(barmode="group", bargap=0.25)
    return made
