"""The sections of a search: map, Pareto front, learning curves, effect of the settings, and data-free scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import plotly.graph_objects as go

from orchestrator.analysis.statistics import ENOUGH_FOR_IMPORTANCE, importances, rank_correlation
from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.report import figures
from orchestrator.report.data import Comparison, SweepData, words
from orchestrator.report.extras import Extras
from orchestrator.report.page import Block, Figure, Section
from trainables.metrics import DATA_FREE_METRICS, METRICS

_MAP = (
    "Each point is a trial, compared with others at the same share of their budget. Colours between the points are "
    "interpolated, not measured. Other settings are not shown, so neighbouring trials may differ in them."
)
_FRONT = (
    "Trials that used their whole budget. A trial is on the front if no other trial is at least as good in all objectives "
    "and better in one. To choose among the trials on the front is to say what accuracy is worth."
)
_TRIALS = "Each line is a trial; a cross ends one that was stopped early, diverged, or failed."
_NEW_SEEDS = (
    "The best and the published settings with new seeds: means over seeds, bands of one standard deviation each way."
)
_OPERATIONS = (
    "The same cases over their floating-point operations: all passes of student, teacher and generator, counted equally for "
    "all methods. So a method with expensive pseudo images can be compared with one whose student takes many steps."
)
_CASES = (
    "Lines are means over seeds, bands one population standard deviation each way; dotted lines are running trials."
)
_IMPORTANCE = (
    "Share of the variance of {metric} that a setting explains, {label} (fANOVA; whiskers: 95 % of repetitions on resampled "
    "trials). It describes only the trials that were run: where a search stays in one region, a setting can look "
    "unimportant."
)
_PARALLEL = (
    "Each line is a trial, yellow the highest objective. Drag along an axis to select a range; other lines fade."
)
_HISTORY = (
    "The blue line is the best so far; the grey band is the best so far of the same trials in random order. If the line "
    "begins on the worse side of the band's middle, later suggestions were better: the search has learnt."
)
_RANKS = (
    "How well a number that needs no real image orders the trials: 1 or -1 orders them as validation accuracy does, 0 is no "
    "relation. Whiskers: 95 % over resampled trials; with many rows some lie far from 0 by chance. Losses and divergences "
    "depend on the settings themselves, and each trial measures them on its own images, so they are no fair score. "
    "Agreements, and metrics whose names begin with probe, are measured on the same images for all trials."
)
_LABELS = "validation_accuracy"
_COSTS = {"s", "rate", "FLOP"}
"""Units of metrics that describe a trial's cost or settings, not its quality."""


def map_section(data: SweepData) -> Section:
    """Return the section with the map: the objective over two settings, by preference step ratio and temperature."""
    axes = figures.map_axes(data)
    if data.sweep.cases or axes is None:
        return Section(title="Map", blocks=[])
    names = " and ".join(words(name) for name in axes)
    return Section(
        title="Map", blocks=list(_tabbed(data, f"{words(data.metric)} over {names}", figures.accuracy_map, _MAP))
    )


def front_section(data: SweepData) -> Section:
    """Return the section with the Pareto front of a search with several objectives."""
    names = {further: words(further) for further in data.sweep.further_objectives}
    drawn = {label: figures.front_figure(data, further) for further, label in names.items()}
    tabs = {label: made for label, made in drawn.items() if made is not None}
    title = f"{words(data.metric)} against {' and '.join(names.values())}".capitalize()
    blocks = [Figure(title=title, tabs=tabs, caption=_FRONT)] if tabs else []
    return Section(title="Pareto front", blocks=blocks)


def curves_section(data: SweepData, extras: Extras) -> Section:
    """Return the section with learning curves; those of cases and of a confirmation have bands over seeds."""
    blocks: list[Block] = []
    if data.sweep.cases:
        tabs = {
            words(metric): made
            for metric in (TEST_ACCURACY, "validation_accuracy", "student_loss")
            if (made := figures.case_curves(data.trials, metric)) is not None
        }
        if tabs:
            blocks.append(Figure(title="Cases", tabs=tabs, caption=_CASES))
        over_operations = {
            words(metric): made
            for metric in (TEST_ACCURACY, "validation_accuracy")
            if (made := figures.operation_curves(data.trials, metric)) is not None
        }
        if over_operations:
            blocks.append(Figure(title="Accuracy over operations", tabs=over_operations, caption=_OPERATIONS))
        return Section(title="Learning curves", blocks=blocks)
    made = figures.trial_curves(data)
    if made is not None:
        blocks.append(Figure(title="Trials of the search", tabs={"": made}, caption=_TRIALS))
    if extras.confirming is not None:
        bands = figures.case_curves(extras.confirming.trials, data.metric, labels=extras.case_labels())
        if bands is not None:
            blocks.append(Figure(title="New seeds", tabs={"": bands}, caption=_NEW_SEEDS))
    return Section(title="Learning curves", blocks=blocks)


def settings_section(data: SweepData) -> Section:
    """Return the section with importances, slices, parallel coordinates and the history of the search."""
    title = "What the settings do"
    comparisons = data.comparisons()
    if data.sweep.cases or not comparisons:
        return Section(title=title, blocks=[])
    widest = max(comparisons, key=lambda comparison: len(comparison.trials))
    blocks: list[Block] = []
    settings = [{name: trial.settings[name] for name in data.searched} for trial in widest.trials]
    found = importances(settings, list(widest.values))
    if found:
        caption = _IMPORTANCE.format(metric=words(data.metric), label=widest.label)
        blocks.append(
            Figure(title="Importance of each setting", tabs={"": figures.importance_figure(found)}, caption=caption)
        )
    slices = {comparison.label: figures.slice_figures(data, comparison) for comparison in comparisons}
    for name in dict.fromkeys(name for of in slices.values() for name in of):
        tabs = {label: of[name] for label, of in slices.items() if name in of}
        blocks.append(Figure(title=f"Over {words(name)}", tabs=_in_order(tabs, data), small=True))
    blocks += _tabbed(data, "Parallel coordinates", figures.parallel_figure, _PARALLEL)
    blocks += _tabbed(data, "Optimisation history", figures.history_figure, _HISTORY)
    return Section(title=title, blocks=blocks)


def scores_section(data: SweepData) -> Section:
    """Return the section with the rank correlations of data-free metrics with validation accuracy.

    It has no blocks for sweeps of cases, for trials that learn from images, and if no labels were read.
    """
    title = "What ranks trials without data"
    config = data.sweep.configs()[0]
    if data.sweep.cases or config.learns_from_images or data.metric not in {_LABELS, *DATA_FREE_METRICS}:
        return Section(title=title, blocks=[])
    return Section(
        title=title, blocks=list(_tabbed(data, "Rank correlation with validation accuracy", _rank_figure, _RANKS))
    )


def _rank_figure(data: SweepData, comparison: Comparison) -> go.Figure | None:
    found = {}
    for name in _score_names(data):
        both = ((trial.at(comparison.share, name), trial.at(comparison.share, _LABELS)) for trial in comparison.trials)
        pairs = [(score, value) for score, value in both if score is not None and value is not None]
        estimate = rank_correlation([score for score, _ in pairs], [value for _, value in pairs])
        if estimate is not None:
            found[name] = estimate
    ordered = dict(sorted(found.items(), key=lambda item: abs(item[1].value)))
    return figures.rank_figure(ordered) if ordered else None


def _score_names(data: SweepData) -> list[str]:
    methods = data.sweep.configs()[0].method_names()
    return [
        metric.name
        for metric in METRICS
        if metric.kind is float
        and metric.is_reported_by(methods)
        and metric.unit not in _COSTS
        and metric.measured_on is None
    ]


def _tabbed(
    data: SweepData, title: str, draw: Callable[[SweepData, Comparison], go.Figure | None], caption: str
) -> Iterator[Figure]:
    """Yield a figure with a tab for each comparison that can be drawn; nothing if none can."""
    drawn = {comparison.label: draw(data, comparison) for comparison in data.comparisons()}
    tabs = {label: made for label, made in drawn.items() if made is not None}
    if tabs:
        yield Figure(title=title[:1].upper() + title[1:], tabs=_in_order(tabs, data), caption=caption)


def _in_order(tabs: Mapping[str, go.Figure], data: SweepData) -> dict[str, go.Figure]:
    """Return tabs in order: the whole budget first, unless too few trials used it, by ``ENOUGH_FOR_IMPORTANCE``."""
    counts = {comparison.label: len(comparison.trials) for comparison in data.comparisons()}
    return dict(sorted(tabs.items(), key=lambda tab: counts[tab[0]] < ENOUGH_FOR_IMPORTANCE))
