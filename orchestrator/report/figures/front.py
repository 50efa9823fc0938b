"""Figure of the Pareto front: the trade-off between the objective and a further one."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.report.data import SweepData
from orchestrator.report.figures.style import BLUE, GREY, VERMILION, figure, hover, metric_axis, value_format
from orchestrator.results import TrialRecord, TrialState
from trainables.metrics import finite


def front_figure(data: SweepData, further: str) -> go.Figure | None:
    """Draw the objective over a further objective, for trials that used their whole budget.

    Trials on the Pareto front of all objectives stand out, and a star marks the published settings.
    """
    completed = [
        row for row in data.board.rows if row.state is TrialState.COMPLETED and _known(row, data.metric, further)
    ]
    if not completed:
        return None
    made = figure(x=metric_axis(further), y=metric_axis(data.metric))
    front = {row.trial_id for row in data.board.front}
    candidates = {row.trial_id for row in data.board.candidates}
    groups = (
        ("out of bounds", [row for row in completed if row.trial_id not in candidates], GREY, "x"),
        ("dominated", [row for row in completed if row.trial_id in candidates - front], GREY, "circle"),
        ("on the Pareto front", [row for row in completed if row.trial_id in front], BLUE, "circle"),
    )
    for name, rows, colour, symbol in groups:
        if rows:
            _add_trials(made, data, rows, further, name=name, colour=colour, symbol=symbol)
    published = data.board.published
    if published in completed:
        made.add_scatter(
            x=[published.metrics[further]],
            y=[published.metrics[data.metric]],
            mode="markers",
            marker={"symbol": "star-open", "size": 22, "color": VERMILION, "line": {"width": 2.5}},
            name="published settings",
            hoverinfo="skip",
        )
    return made


def _add_trials(
    made: go.Figure, data: SweepData, rows: Sequence[TrialRecord], further: str, *, name: str, colour: str, symbol: str
) -> None:
    ordered = sorted(rows, key=lambda row: float(row.metrics[further]))
    texts = [hover(data.trial(row.trial_id), data.searched) for row in ordered]
    # With more than two objectives, the front is a surface, so its projection is not drawn as a line.
    on_line = name == "on the Pareto front" and len(data.sweep.directions) == 2
    made.add_scatter(
        x=[row.metrics[further] for row in ordered],
        y=[row.metrics[data.metric] for row in ordered],
        mode="lines+markers" if on_line else "markers",
        line={"color": colour, "width": 1.5, "dash": "dot"},
        marker={"color": colour, "size": 10, "symbol": symbol},
        name=name,
        text=texts,
        hovertemplate=f"%{{text}}<br>{value_format(data.metric)}, {value_format(further, 'x')}<extra></extra>",
    )


def _known(row: TrialRecord, *metrics: str) -> bool:
    return all(finite(row.metrics[name]) is not None for name in metrics)
