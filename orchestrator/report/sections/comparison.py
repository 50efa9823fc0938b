"""The section that compares several sweeps."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.report import figures
from orchestrator.report.data import SweepData, shown, words
from orchestrator.report.page import Block, Figure, Section, Table, time_cell
from orchestrator.report.sections.costs import total_seconds

_HEADINGS = ("sweep", "trials", "compared by", "best", "best value", "best's test", "published", "computing")


def side_by_side(sweeps: Sequence[SweepData]) -> Section:
    """Return a section with a table of the sweeps, and a figure of the best value so far of each search."""
    table = Table(
        title="Sweeps", headings=_HEADINGS, rows=[_row(data) for data in sweeps], text_columns=frozenset({0, 2, 3})
    )
    blocks: list[Block] = [table]
    searches = [data for data in sweeps if not data.sweep.cases]
    for metric in dict.fromkeys(data.metric for data in searches):
        made = figures.comparison_figure([data for data in searches if data.metric == metric], metric)
        if made is not None:
            caption = (
                "In the order of suggestion, at the whole budget of each sweep; budgets may differ between sweeps."
            )
            blocks.append(Figure(title=f"Best {words(metric)} so far", tabs={"": made}, caption=caption))
    return Section(title="Side by side", blocks=blocks)


def _row(data: SweepData) -> list[str]:
    best, published = (trial.row if trial else None for trial in (data.best, data.published))
    if data.sweep.cases:
        best = None  # nothing is selected
    return [
        data.sweep_id,
        data.ended_of_all,
        words(data.metric),
        best.trial_id if best else "",
        shown(best.objective, data.metric) if best else "",
        _audit(best.metrics[TEST_ACCURACY], data) if best else "",
        shown(published.objective, data.metric) if published else "",
        time_cell(total_seconds(data)),
    ]


def _audit(accuracy: float | None, data: SweepData) -> str:
    """Format a test accuracy with a note that says whether it is an audit or test images served for selection."""
    if accuracy is None:
        return ""
    return f"{shown(accuracy, TEST_ACCURACY)} ({'selected on test data' if data.sweep.selects_on_test else 'audit'})"
