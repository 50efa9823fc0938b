"""The map of a search: the objective over two settings, by preference the step ratio and the temperature."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from orchestrator.report.data import Comparison, SweepData, Trial, words
from orchestrator.report.figures.style import SCALE, VERMILION, figure, hover, setting_axis, value_format
from trainables.metrics import is_share

_ENOUGH_FOR_A_SURFACE = 6
_GRID = 40
_FEW = 100
"""Maximum number of trials that are drawn as large points."""


def map_axes(data: SweepData) -> tuple[str, str] | None:
    """Return the first two numeric settings that differ between trials; None if fewer than two do."""
    numeric = [name for name in data.axes if _numeric(data.trials, name)]
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def accuracy_map(data: SweepData, comparison: Comparison) -> go.Figure | None:
    """Draw trials as points over two settings (``map_axes``), coloured by the objective at one share of the budget.

    Within the convex hull of the points, colours are interpolated. Trials that ended before this share are crosses.
    """
    axes = map_axes(data)
    if axes is None or not comparison.trials:
        return None
    x, y = axes
    there = {trial.trial_id for trial in comparison.trials}
    known = [trial for trial in data.trials if trial.state.ended]
    others = [trial for trial in known if trial.trial_id not in there]
    made = figure(
        x=setting_axis(x, [trial.value(x) for trial in known]),
        y=setting_axis(y, [trial.value(y) for trial in known]),
        height=500,
    )
    colours = {
        "cmin": min(comparison.values),
        "cmax": max(comparison.values),
        "colorscale": SCALE,
    }
    _add_surface(made, comparison, x, y)
    if others:
        made.add_scatter(
            x=[trial.value(x) for trial in others],
            y=[trial.value(y) for trial in others],
            mode="markers",
            marker={"symbol": "x-thin", "size": 9, "line": {"width": 1.5, "color": "#888888"}},
            name="ended before this budget",
            text=[hover(trial, data.searched) for trial in others],
            hovertemplate="%{text}<extra></extra>",
        )
    made.add_scatter(
        x=[trial.value(x) for trial in comparison.trials],
        y=[trial.value(y) for trial in comparison.trials],
        mode="markers",
        marker={
            "color": list(comparison.values),
            "size": 14 if len(comparison.trials) <= _FEW else 9,
            "line": {"width": 1, "color": "#ffffff"},
            "colorbar": {
                "title": {"text": words(data.metric), "side": "right"},
                "thickness": 12,
                **({"tickformat": ".2~%"} if is_share(data.metric) else {}),
            },
            **colours,
        },
        name="trial",
        text=[hover(trial, data.searched) for trial in comparison.trials],
        hovertemplate=f"%{{text}}<br>{words(data.metric)} {value_format(data.metric, 'marker.color')}<extra></extra>",
    )
    for label, trial, symbol, colour in (
        ("published settings", data.published, "star-open", VERMILION),
        ("best at the whole budget", data.best, "circle-open", VERMILION),
    ):
        if trial is not None and trial.settings:
            made.add_scatter(
                x=[trial.value(x)],
                y=[trial.value(y)],
                mode="markers",
                marker={"symbol": symbol, "size": 24, "color": colour, "line": {"width": 2.5}},
                name=label,
                hoverinfo="skip",
            )
    return made


def _add_surface(made: go.Figure, comparison: Comparison, x: str, y: str) -> None:
    """Add the linear interpolation between the trials, computed in the coordinates of the axes (linear or logarithmic)."""
    if len(comparison.trials) < _ENOUGH_FOR_A_SURFACE:
        return
    from scipy.interpolate import griddata  # slow to import
    from scipy.spatial import QhullError

    logarithmic = [made.layout[name].type == "log" for name in ("xaxis", "yaxis")]
    points = np.array([[float(trial.value(name)) for name in (x, y)] for trial in comparison.trials])
    drawn = np.where(logarithmic, np.log(np.where(logarithmic, points, 1.0)), points)
    lines = [np.linspace(column.min(), column.max(), _GRID) for column in drawn.T]
    spread = np.ptp(drawn, axis=0)
    if not spread.all():
        return
    grid = np.stack(np.meshgrid(*lines), axis=-1)
    try:
        surface = griddata(drawn / spread, np.array(comparison.values), grid / spread, method="linear")
    except QhullError:  # all points on one line
        return
    xs, ys = (np.exp(line) if log else line for line, log in zip(lines, logarithmic, strict=True))
    made.add_contour(
        x=xs.round(6).tolist(),
        y=ys.round(6).tolist(),
        z=[[None if np.isnan(value) else round(float(value), 4) for value in row] for row in surface],
        zmin=min(comparison.values),
        zmax=max(comparison.values),
        colorscale=SCALE,
        showscale=False,
        opacity=0.45,
        line={"width": 0},
        ncontours=12,
        hoverinfo="skip",
        connectgaps=False,
        name="interpolated",
    )


def _numeric(trials: list[Trial], name: str) -> bool:
    values = [trial.value(name) for trial in trials if trial.settings]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and len(set(numbers)) > 1
