"""Figures of a search: its history, and the effect of its settings on the objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from orchestrator.analysis.statistics import Estimate, best_in_random_order
from orchestrator.report.data import Comparison, SweepData, words
from orchestrator.report.figures.style import (
    BLUE,
    GREY,
    SCALE,
    VERMILION,
    add_band,
    figure,
    hover,
    is_logarithmic,
    metric_axis,
    setting_axis,
    setting_text,
    value_format,
)
from trainables.metrics import is_share


def history_figure(data: SweepData, comparison: Comparison) -> go.Figure | None:
    """Draw the best value so far in the order of suggestion, and for comparison that of the same trials in random order."""
    if len(comparison.trials) < 3:
        return None
    best = list(accumulate(comparison.values, max if data.sign > 0 else min))
    counts = list(range(1, len(best) + 1))
    order = best_in_random_order(comparison.values, maximise=data.sign > 0)
    made = figure(x={"title": {"text": "trials, in the order of suggestion"}}, y=metric_axis(data.metric))
    add_band(made, counts, order.low.tolist(), order.high.tolist(), colour=GREY, name="random order, 95 %")
    made.add_scatter(
        x=counts,
        y=order.mean.tolist(),
        mode="lines",
        line={"color": GREY, "dash": "dash"},
        name="random order, mean best so far",
        hovertemplate=f"random order: {value_format(data.metric)}<extra></extra>",
    )
    made.add_scatter(
        x=counts,
        y=list(comparison.values),
        mode="markers",
        marker={"color": BLUE, "size": 7, "opacity": 0.6},
        name="trial",
        text=[hover(trial, data.searched) for trial in comparison.trials],
        hovertemplate=f"%{{text}}<br>{value_format(data.metric)}<extra></extra>",
    )
    made.add_scatter(
        x=counts,
        y=best,
        mode="lines",
        line={"color": BLUE, "width": 2.5, "shape": "hv"},
        name="best so far",
        hovertemplate=f"best so far: {value_format(data.metric)}<extra></extra>",
    )
    return made


def importance_figure(estimates: Mapping[str, Estimate]) -> go.Figure:
    """Draw importances of settings as bars with intervals, the most important setting on top."""
    made = _estimates_figure(dict(reversed(list(estimates.items()))), title="share of variance", percent=True)
    made.update_xaxes(rangemode="tozero")
    return made


def rank_figure(estimates: Mapping[str, Estimate]) -> go.Figure:
    """Draw rank correlations of scores with a metric as points with intervals."""
    made = _estimates_figure(estimates, title="Spearman's ρ", percent=False, bars=False)
    made.update_xaxes(range=[-1.05, 1.05])
    made.add_vline(x=0, line={"color": GREY, "width": 1})
    return made


def slice_figures(data: SweepData, comparison: Comparison) -> dict[str, go.Figure]:
    """Draw the objective over each setting that varies, with the published settings marked; return figures by setting."""
    figures = {}
    names = dict.fromkeys([*data.axes, *data.searched])
    for name in names:
        values = [trial.value(name) for trial in comparison.trials]
        if len(set(map(str, values))) < 2:
            continue
        made = figure(x=setting_axis(name, values), y=metric_axis(data.metric), height=300, legend=False)
        made.add_scatter(
            x=[str(value) for value in values] if made.layout.xaxis.type == "category" else values,
            y=list(comparison.values),
            mode="markers",
            marker={"color": BLUE, "size": 9, "opacity": 0.8},
            text=[hover(trial, data.searched) for trial in comparison.trials],
            hovertemplate=f"%{{text}}<br>{value_format(data.metric)}<extra></extra>",
        )
        published = data.published
        if published is not None and published in comparison.trials:
            where = list(comparison.trials).index(published)
            made.add_scatter(
                x=[values[where]],
                y=[comparison.values[where]],
                mode="markers",
                marker={"symbol": "star-open", "size": 18, "color": VERMILION, "line": {"width": 2}},
                hovertemplate="published settings<extra></extra>",
            )
        figures[name] = made
    return figures


def parallel_figure(data: SweepData, comparison: Comparison) -> go.Figure | None:
    """Draw each trial as a line through its settings to its objective; the reader can select a range on each axis."""
    if len(comparison.trials) < 3 or not data.searched:
        return None
    dimensions = [_dimension(name, [trial.settings[name] for trial in comparison.trials]) for name in data.searched]
    percent = is_share(data.metric)
    dimensions.append(
        {
            "label": words(data.metric) + (" (%)" if percent else ""),
            "values": [100 * value if percent else value for value in comparison.values],
        }
    )
    made = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": list(comparison.values), "colorscale": SCALE},
            labelangle=-12,
            labelside="top",
        )
    )
    made.update_layout(
        template="plotly_white", height=420, margin={"l": 50, "r": 90, "t": 80, "b": 30}, font={"size": 12}
    )
    return made


def _dimension(name: str, values: list[Any]) -> dict[str, Any]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = sorted(set(map(str, values)))
        return {
            "label": words(name),
            "values": [kinds.index(str(value)) for value in values],
            "tickvals": list(range(len(kinds))),
            "ticktext": kinds,
        }
    if is_logarithmic(name) and min(values) > 0:
        low, high = math.log10(min(values)), math.log10(max(values))
        ticks = [low + part * (high - low) / 4 for part in range(5)]
        return {
            "label": words(name),
            "values": [math.log10(value) for value in values],
            "tickvals": ticks,
            "ticktext": [setting_text(10**tick) for tick in ticks],
        }
    return {"label": words(name), "values": values}


def _estimates_figure(estimates: Mapping[str, Estimate], *, title: str, percent: bool, bars: bool = True) -> go.Figure:
    made = figure(
        x={"title": {"text": title}, **({"tickformat": ".0%"} if percent else {})},
        y={"type": "category"},
        height=120 + 30 * len(estimates),
        legend=False,
    )
    number = "%{x:.0%}" if percent else "%{x:.2f}"
    shared: dict[str, Any] = {
        "x": [estimate.value for estimate in estimates.values()],
        "y": [words(name) for name in estimates],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [estimate.high - estimate.value for estimate in estimates.values()],
            "arrayminus": [estimate.value - estimate.low for estimate in estimates.values()],
            "thickness": 1.5,
            "color": GREY,
        },
        "hovertemplate": f"%{{y}}: {number} (95 %: %{{customdata}})<extra></extra>",
        "customdata": [
            f"{estimate.low:.0%} to {estimate.high:.0%}" if percent else f"{estimate.low:.2f} to {estimate.high:.2f}"
            for estimate in estimates.values()
        ],
    }
    if bars:
        made.add_bar(orientation="h", marker={"color": BLUE}, **shared)
    else:
        made.add_scatter(mode="markers", marker={"color": BLUE, "size": 10}, **shared)
    return made
