"""Figures of a study, as plotly objects and as HTML that opens without a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import plotly.graph_objects as go

from orchestrator.report.figures.style import COLOURS, add_band

if TYPE_CHECKING:
    from torch import Tensor

_BAND = 2
"""Standard errors on each side of a line."""


class Curves(Protocol):
    """What ``trainables.evaluation.MeanCurves`` has: means and standard errors, each (steps,)."""

    @property
    def attacked(self) -> Tensor: ...
    @property
    def attacked_error(self) -> Tensor: ...
    @property
    def other(self) -> Tensor: ...
    @property
    def other_error(self) -> Tensor: ...


def transition_figure(
    curves: Mapping[str, Curves],
    *,
    title: str,
    last_step: int = 31,
    names: tuple[str, str] = ("attacked", "other"),
) -> go.Figure:
    """Mean transition curves, two of one colour for each label: solid the attacked network, dashed the other.

    The bands are 2 standard errors on each side; a single image has none.

    Args:
        curves: By label, what the legend calls them.
        title: Above the figure.
        last_step: Where the x axis ends; 31 as in the paper's Figure 4. Shorter curves end earlier.
        names: What to call the attacked network and the other one in the legend, such as student and teacher.

    Raises:
        ValueError: no curves, or ``last_step`` below 1.
    """
    if not curves:
        raise ValueError("a figure of no curves; allowed: at least one")
    if last_step < 1:
        raise ValueError(f"last_step={last_step}; allowed: at least 1")
    figure = go.Figure()
    for number, (label, means) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        for name, dash, mean, error in (
            (names[0], "solid", means.attacked, means.attacked_error),
            (names[1], "dash", means.other, means.other_error),
        ):
            shown = mean[: last_step + 1].tolist()
            margin = (_BAND * error[: last_step + 1]).tolist()
            _add_line(figure, f"{label}, {name}", shown, margin, colour=colour, dash=dash)
    figure.update_layout(
        title={"text": title},
        template="plotly_white",
        font={"size": 14},
        xaxis={"title": {"text": "steps"}, "range": [0, last_step]},
        yaxis={"title": {"text": "probability of the target class"}, "range": [0, 1.02]},
        legend={"title": {"text": f"bands: ± {_BAND} standard errors"}},
        hovermode="x unified",
    )
    return figure


def figure_html(figure: go.Figure) -> str:
    """Return a figure as a page of its own with plotly inside, about 5 MB; equal figures give equal text."""
    text: str = figure.to_html(
        include_plotlyjs=True,  # the script itself, not a link to it
        full_html=True,
        config={"displaylogo": False, "responsive": True},
        div_id="figure",  # plotly would draw one at random
    )
    return text


def _add_line(
    figure: go.Figure, name: str, mean: Sequence[float], margin: Sequence[float], *, colour: str, dash: str
) -> None:
    """One curve and the band behind it, which come and go together when their entry in the legend is clicked."""
    steps = list(range(len(mean)))
    finite = all(map(math.isfinite, margin))
    if finite:
        upper = [value + width for value, width in zip(mean, margin, strict=True)]
        lower = [value - width for value, width in zip(mean, margin, strict=True)]
        add_band(figure, steps, lower, upper, colour=colour, name=name, legendgroup=name, showlegend=False)
    spread = " ± %{customdata:.3f}" if finite else ""
    figure.add_scatter(
        x=steps,
        y=list(mean),
        customdata=list(margin) if finite else None,
        mode="lines",
        line={"color": colour, "dash": dash, "width": 2},
        name=name,
        legendgroup=name,
        hovertemplate=f"{name}: %{{y:.3f}}{spread}<extra></extra>",
    )
