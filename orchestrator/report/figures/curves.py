"""Learning curves of the trials of a search, and of cases with bands over their seeds; the comparison of sweeps."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from orchestrator.report.data import SweepData, Trial, words
from orchestrator.report.figures.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    add_mean_curve,
    figure,
    metric_axis,
    setting_text,
    value_format,
)
from orchestrator.results import TrialState
from trainables.metrics import finite

_MOST_CURVES = 300
"""Maximum number of faint curves for each group of states; of more trials, evenly spaced ones are drawn."""

_BUDGET_AXIS: dict[str, Any] = {"title": {"text": "share of the budget used"}, "tickformat": ".0%", "range": [0, 1.03]}


def trial_curves(data: SweepData) -> go.Figure | None:
    """Draw every trial's objective over its budget; best and published settings stand out, a cross marks an early end."""
    drawn = [trial for trial in data.trials if trial.shares and _points(trial, data.metric)]
    if not drawn:
        return None
    made = figure(x=_BUDGET_AXIS, y=metric_axis(data.metric))
    highlighted = {trial.trial_id for trial in (data.best, data.published) if trial is not None}
    for states, label, colour in (
        ({TrialState.COMPLETED}, "completed", GREY),
        ({TrialState.STOPPED_EARLY}, "stopped early", ORANGE),
        ({TrialState.RUNNING}, "running", GREEN),
        ({TrialState.DIVERGED, TrialState.FAILED}, "diverged or failed", VERMILION),
    ):
        group = [trial for trial in drawn if trial.state in states and trial.trial_id not in highlighted]
        shown = group[:: -(-len(group) // _MOST_CURVES) or 1]
        if shown:
            some = f"{len(shown)} of {len(group)}" if len(shown) < len(group) else f"{len(group)}"
            crosses = TrialState.COMPLETED not in states
            _add_bundle(made, shown, data.metric, name=f"{label} ({some})", colour=colour, crosses=crosses)
    for trial, name, colour, dash in (
        (data.published, "published settings", VERMILION, "dash"),
        (data.best, "best", BLUE, "solid"),
    ):
        if trial is not None and trial.shares:
            _add_line(made, trial, data, name=f"{name}: {trial.trial_id}", colour=colour, dash=dash)
    return made


def case_curves(trials: Sequence[Trial], metric: str, *, labels: Mapping[str, str] | None = None) -> go.Figure | None:
    """Draw the mean of each case over its seeds, with a band of one population standard deviation on each side.

    Running trials are drawn as separate dotted lines.

    Args:
        trials: Trials of the sweep; trials without a case are skipped.
        metric: Metric to draw.
        labels: Legend labels of cases. Defaults to the names of the cases.
    """
    cases: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.case is not None and trial.shares and _points(trial, metric):
            cases.setdefault(trial.case, []).append(trial)
    if not cases:
        return None
    made = figure(x=_BUDGET_AXIS, y=metric_axis(metric))
    for number, (case, of_case) in enumerate(cases.items()):
        colour = COLOURS[number % len(COLOURS)]
        running = [trial for trial in of_case if not trial.state.ended]
        for trial in running:
            _add_running(made, trial, metric, case=(labels or {}).get(case, case), colour=colour, group=case)
        seeds = [trial for trial in of_case if trial not in running]
        if not seeds:
            continue
        by_share: dict[float, list[float]] = {}
        for trial in seeds:
            for share, value in _points(trial, metric):
                by_share.setdefault(round(share, 6), []).append(value)
        shares = [share for share in sorted(by_share) if len(by_share[share]) == max(map(len, by_share.values()))]
        means = [statistics.fmean(by_share[share]) for share in shares]
        spreads = [statistics.pstdev(by_share[share]) for share in shares]
        name = f"{(labels or {}).get(case, case)} (n={len(seeds)})"
        add_mean_curve(made, shares, means, spreads, metric=metric, number=number, name=name, group=case)
    return made


def _add_running(made: go.Figure, trial: Trial, metric: str, *, case: str, colour: str, group: str) -> None:
    points = _points(trial, metric)
    name = f"{case}, {trial.trial_id} runs"
    made.add_scatter(
        x=[share for share, _ in points],
        y=[value for _, value in points],
        mode="lines+markers",
        marker={"size": 4},
        line={"color": colour, "width": 1.5, "dash": "dot"},
        name=name,
        legendgroup=group,
        hovertemplate=f"{name}: {value_format(metric)}<extra></extra>",
    )


def _points(trial: Trial, metric: str) -> list[tuple[float, float]]:
    values = ((share, finite(report.get(metric))) for share, report in zip(trial.shares, trial.reports, strict=True))
    return [(share, value) for share, value in values if value is not None]


def _add_bundle(
    made: go.Figure, trials: Sequence[Trial], metric: str, *, name: str, colour: str, crosses: bool
) -> None:
    """Add many curves as one trace with gaps between the curves, and optionally a cross at the end of each."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    ids: list[str] = []
    ends = []
    for trial in trials:
        points = _points(trial, metric)
        xs += [*(round(share, 4) for share, _ in points), None]
        ys += [*(value for _, value in points), None]
        ids += [trial.trial_id] * (len(points) + 1)
        ends.append(points[-1])
    made.add_scatter(
        x=xs,
        y=ys,
        text=ids,
        mode="lines",
        line={"color": colour, "width": 1},
        opacity=0.6,
        name=name,
        legendgroup=name,
        hovertemplate=f"%{{text}}: {value_format(metric)}<extra></extra>",
    )
    if crosses:
        made.add_scatter(
            x=[share for share, _ in ends],
            y=[value for _, value in ends],
            mode="markers",
            marker={"symbol": "x", "size": 7, "color": colour},
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )


def _add_line(made: go.Figure, trial: Trial, data: SweepData, *, name: str, colour: str, dash: str) -> None:
    points = _points(trial, data.metric)
    settings = ", ".join(f"{words(field)} {setting_text(trial.settings.get(field))}" for field in data.searched)
    made.add_scatter(
        x=[share for share, _ in points],
        y=[value for _, value in points],
        mode="lines+markers",
        marker={"size": 5},
        line={"color": colour, "width": 3, "dash": dash},
        name=name,
        hovertemplate=f"{name} ({settings}): {value_format(data.metric)}<extra></extra>",
    )


def comparison_figure(sweeps: Sequence[SweepData], metric: str) -> go.Figure | None:
    """Draw the best value so far of each sweep over the number of trials that used their whole budget."""
    made = figure(
        x={"title": {"text": "trials that used their whole budget"}, "rangemode": "tozero"}, y=metric_axis(metric)
    )
    for number, data in enumerate(sweeps):
        values = [
            value
            for trial in data.trials
            if trial.state is TrialState.COMPLETED and (value := trial.at(1.0, metric)) is not None
        ]
        if values:
            best = list(accumulate(values, max if data.sign > 0 else min))
            made.add_scatter(
                x=list(range(1, len(best) + 1)),
                y=best,
                mode="lines",
                line={"shape": "hv", "width": 2.5, "color": COLOURS[number % len(COLOURS)]},
                name=data.sweep_id,
                hovertemplate=f"{data.sweep_id}: {value_format(metric)}<extra></extra>",
            )
    return made if made.data else None
