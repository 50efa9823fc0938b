"""Common elements of the report's figures: colours, axes and hover texts. The page sets light or dark mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.formatting import short
from orchestrator.report.data import STEP_RATIO, Trial, words
from orchestrator.results import TrialState
from trainables.config.fields import logarithmic_fields
from trainables.metrics import is_share

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, which most colour-blind readers can distinguish, without yellow, which is hard to see on white,
and with grey in place of black, which is hard to see on a dark page."""

BLUE, VERMILION, GREEN, PURPLE, GREY, SKY, ORANGE = COLOURS

STATE_COLOURS = {
    TrialState.COMPLETED: BLUE,
    TrialState.STOPPED_EARLY: ORANGE,
    TrialState.RUNNING: GREEN,
    TrialState.DIVERGED: VERMILION,
    TrialState.FAILED: VERMILION,
}

SCALE = [[0, "#414487"], [0.25, "#2a788e"], [0.5, "#22a884"], [0.75, "#7ad151"], [1, "#f0c808"]]
"""Colour scale of the objective: viridis, which stays readable when printed in grey, without the darkest and lightest
colours, which are hard to see on a dark or a white page."""


def is_logarithmic(setting: str) -> bool:
    """Return whether a setting is drawn on a logarithmic scale, because ratios of its values matter."""
    return setting == STEP_RATIO or setting in logarithmic_fields()


def figure(*, x: dict[str, Any], y: dict[str, Any], height: int = 420, legend: bool = True) -> go.Figure:
    """Return an empty figure with axes; its legend lies below, where narrow screens have room for it.

    Args:
        x: Plotly's settings of the x axis.
        y: Plotly's settings of the y axis.
        height: Height in pixels.
        legend: Whether the figure has a legend.
    """
    made = go.Figure()
    made.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        font={"size": 13},
        xaxis={"automargin": True, **x},
        yaxis={"automargin": True, **y},
        showlegend=legend,
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        hovermode="closest",
    )
    if legend:
        made.update_layout(margin={"b": 96})
    return made


def setting_axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return plotly's axis of a setting: logarithmic if ratios matter, or categories if not all values are numbers."""
    title = {"title": {"text": words(name)}}
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return {**title, "type": "category"}
    if is_logarithmic(name) and numbers and min(numbers) > 0:
        low, high = min(numbers), max(numbers)
        return {**title, "type": "log", "tickvals": log_ticks(low, high), "tickmode": "array"}
    return title


def metric_axis(metric: str, *, title: str | None = None) -> dict[str, Any]:
    """Return plotly's axis of a metric, in percent if the metric is a share."""
    return {"title": {"text": title or words(metric)}, **({"tickformat": ".2~%"} if is_share(metric) else {})}


def add_band(
    figure: go.Figure, x: Sequence[float], low: Sequence[float], high: Sequence[float], *, colour: str, **trace: Any
) -> None:
    """Add a faint area between two lines, without hover text.

    Args:
        figure: Figure to draw in.
        x: Ascending x coordinates of both edges.
        low: Lower edge at each x.
        high: Upper edge at each x.
        colour: Colour, ``#rrggbb``.
        trace: Further properties of plotly's trace, such as its name.
    """
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=faint(colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        **trace,
    )


def faint(colour: str) -> str:
    """Return a colour, given as ``#rrggbb``, at 15 % opacity."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, 0.15)"


def hover(trial: Trial, searched: Sequence[str]) -> str:
    """Return the hover text of a trial."""
    settings = "<br>".join(f"{words(name)} {setting_text(trial.settings.get(name))}" for name in searched)
    return f"<b>{trial.trial_id}</b>, {trial.state.word}<br>{settings}"


def add_mean_curve(
    made: go.Figure,
    x: Sequence[float],
    means: Sequence[float],
    spreads: Sequence[float],
    *,
    metric: str,
    number: int,
    name: str,
    group: str,
) -> None:
    """Add the mean of a case over its seeds, with a band of one standard deviation on each side if seeds differ.

    Args:
        made: Figure to draw in.
        x: Ascending x coordinates.
        means: Mean of the metric at each x.
        spreads: Standard deviation of the metric at each x.
        metric: Name of the metric.
        number: Index of the case, which determines its colour.
        name: Text in the legend.
        group: Legend group, so that a click on the legend hides the curve and its band together.
    """
    colour = COLOURS[number % len(COLOURS)]
    if any(spreads):
        upper = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        lower = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        add_band(made, x, lower, upper, colour=colour, legendgroup=group, showlegend=False)
    made.add_scatter(
        x=x,
        y=means,
        customdata=spreads,
        mode="lines+markers",
        marker={"size": 5},
        line={"color": colour, "width": 2.5, "dash": "solid" if number < len(COLOURS) else "dash"},
        name=name,
        legendgroup=group,
        hovertemplate=f"{name}: {value_format(metric)} ± {value_format(metric, 'customdata')}<extra></extra>",
    )


def value_format(metric: str, axis: str = "y") -> str:
    """Return the placeholder of a metric's value in plotly's hover templates."""
    return f"%{{{axis}:.2%}}" if is_share(metric) else f"%{{{axis}:.4g}}"


def setting_text(value: object) -> str:
    """Format a setting's value for the page."""
    return short(value, digits=3, missing="None")


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers around a range as ticks, since plotly labels a short logarithmic axis with only "2" and "5"."""
    factors = (1, 1.5, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5)
    steps = [factor * 10.0**power for power in range(-9, 10) for factor in factors]
    inside = [step for step in steps if low / 1.5 <= step <= high * 1.5]
    return inside[:: max(1, len(inside) // 8)]
