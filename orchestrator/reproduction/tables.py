"""Tables of judgements for a terminal and in Markdown, with the rules of the verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from orchestrator.reproduction.units import interval, mean_and_std, number, unit, value_range
from orchestrator.reproduction.verdict import Judgement

HEADINGS = (
    "case",
    "ours (mean ± std, n) [95 % interval of the mean]",
    "paper",
    "band of re-runs",
    "difference [95 % interval]",
    "verdict",
    "note",
)
"""Column headings of a table of judgements."""


def verdict_table(judgements: Iterable[Judgement]) -> Table:
    """Make a table for a terminal with one judgement in each row; accuracies are in percent, transition errors are not."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading)
    for judgement in judgements:
        # Wrapped in Text, since rich would interpret the brackets of intervals as markup.
        table.add_row(*(Text(cell) for cell in cells(judgement)))
    return table


def verdict_markdown(judgements: Iterable[Judgement]) -> str:
    """Make a table of judgements in Markdown, followed by the rules and ending in a newline."""
    judged = list(judgements)
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(cells(judgement) for judgement in judged)]
    table = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    return table + "".join(f"\n{rule}\n" for rule in rules(judged))


def rules(judgements: Iterable[Judgement]) -> list[str]:
    """Return the distinct rules of the judgements."""
    return list(dict.fromkeys(judgement.rule for judgement in judgements))


def cells(judgement: Judgement) -> tuple[str, ...]:
    """Format a judgement as the cells of a table row, one for each of ``HEADINGS``."""
    metric, band = judgement.metric, judgement.band
    ours = "no runs"
    if judgement.n:
        ours = f"{mean_and_std(judgement.mean, judgement.std, metric)}{unit(metric)} (n={judgement.n})"
        ours += interval(judgement.mean_low, judgement.mean_high, metric)
    paper = "none"
    if judgement.paper_mean is not None:
        paper = mean_and_std(judgement.paper_mean, judgement.paper_std, metric) + unit(metric)
    difference = ""
    if not math.isnan(judgement.difference):
        difference = number(judgement.difference, metric, signed=True)
        difference += interval(judgement.difference_low, judgement.difference_high, metric, signed=True)
    return (
        judgement.case,
        ours,
        paper,
        value_range(*band, metric) if band else "none",
        difference,
        judgement.verdict.value,
        judgement.note,
    )
