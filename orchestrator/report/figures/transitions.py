"""The figure of transition curves, as a plotly object and as an HTML page that needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import plotly.graph_objects as go

from orchestrator.report.figures.style import COLOURS, add_band

if TYPE_CHECKING:
    from torch import Tensor

_BAND = 2
"""Half width of a band, in standard errors."""


class Curves(Protocol):
    """Interface of ``trainables.evaluation.MeanCurves``: means and standard errors, each (steps,)."""

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
    """Draw mean transition curves, two of one colour for each label: the attacked network solid, the other one dashed.

    Bands show 2 standard errors on each side; curves of a single image have no band.

    Args:
        curves: Mean curves by their label in the legend.
        title: Title above the figure.
        last_step: End of the x axis. Defaults to 31, as in the paper's Figure 4. Shorter curves end earlier.
        names: Names of the attacked network and the other one in the legend, such as student and teacher.

    Raises:
        ValueError: there are no curves, or ``last_step`` is below 1.
    """
    if not curves:
        raise ValueError("curves is empty; allowed: at least one")
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
    """Return a figure as an HTML page that contains plotly, about 5 MB; equal figures give equal text."""
    text: str = figure.to_html(
        include_plotlyjs=True,  # the script itself, not a link to it
        full_html=True,
        config={"displaylogo": False, "responsive": True},
        div_id="figure",  # plotly would choose a random id
    )
    return text


def _add_line(
    figure: go.Figure, name: str, mean: Sequence[float], margin: Sequence[float], *, colour: str, dash: str
) -> None:
    """Add a curve and the band behind it; a click on their legend entry hides or shows both."""
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
