"""Figure of the computing time of trials."""

from __future__ import annotations

import plotly.graph_objects as go

from orchestrator.report.data import SweepData
from orchestrator.report.figures.style import STATE_COLOURS, figure, hover, metric_axis, value_format
from trainables.metrics import finite


def cost_figure(data: SweepData) -> go.Figure | None:
    """Draw each trial's last value over its computing time, coloured by state; None if fewer than two trials have ended."""
    if len(data.board.rows) < 2:
        return None
    made = figure(
        x={"title": {"text": "computing time of the trial, seconds"}, "rangemode": "tozero"}, y=metric_axis(data.metric)
    )
    for state, colour in STATE_COLOURS.items():
        rows = [
            (trial, seconds, value)
            for trial in data.trials
            if trial.state is state
            and trial.row is not None
            and (seconds := finite(trial.row.computing_seconds)) is not None
            and (value := finite(trial.row.metrics[data.metric])) is not None
        ]
        if rows:
            made.add_scatter(
                x=[seconds for _, seconds, _ in rows],
                y=[value for _, _, value in rows],
                mode="markers",
                marker={"color": colour, "size": 9, "opacity": 0.8},
                name=state.word,
                text=[hover(trial, data.searched) for trial, _, _ in rows],
                hovertemplate=f"%{{text}}<br>%{{x:.0f}} s, {value_format(data.metric)}<extra></extra>",
            )
    return made if made.data else None
