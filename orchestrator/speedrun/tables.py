"""Tables of records, and the verification of a row by running it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from orchestrator.formatting import operation_unit, short
from orchestrator.speedrun.rows import Judgement, Row, records
from orchestrator.speedrun.tracks import Track

HEADINGS = ("", "recipe", "by", "a student takes", "GPU s", "test accuracy [95 % interval]", "seeds", "p", "")
"""Column headings of a track's table."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A row, and the row that results from running its recipe again."""

    row: Row
    again: Row

    @property
    def verified(self) -> bool:
        """Whether the new row counts as well and takes no more operations than the original row."""
        return self.again.judgement.counts and self.again.operations <= self.row.operations * (1 + 1e-9)

    @property
    def same_numbers(self) -> bool:
        """Whether both rows have the same seeds with the same accuracies."""
        then, now = ({run.seed: run.test_accuracy for run in row.runs} for row in (self.row, self.again))
        return then == now

    @property
    def same_seeds(self) -> bool:
        """Whether both rows have the same seeds."""
        return {run.seed for run in self.row.runs} == {run.seed for run in self.again.runs}

    def conclusion(self) -> str:
        """Return the result of the verification in one line."""
        judged = self.again.judgement
        takes = shown_operations(self.again.operations)
        found = f"{judged.mean:.2%} over {judged.seeds} seeds (p = {judged.p_value:.2g}), {takes} each"
        if not self.verified:
            why = judged.why_not or f"it takes {takes}, the row says {shown_operations(self.row.operations)}"
            return f"Not verified: {found}; {why}."
        same = "every accuracy is reproduced" if self.same_numbers else "accuracies differ, as on another processor"
        if not self.same_seeds:
            same = "the seeds differ from those of the row"
        return f"Verified: {found}; {same}."


def shown_operations(operations: float) -> str:
    """Format a number of operations with a suitable unit, such as ``33.2 PFLOP``."""
    unit, name = operation_unit(operations)
    return f"{short(operations / unit)} {name}"


def track_table(track: Track, rows: list[Row]) -> Table:
    """Return a track's rows as a table, below the reference that they are compared with."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading)
    reference = track.reference
    if reference is not None:
        operations = "" if reference.operations is None else shown_operations(reference.operations)
        table.add_row("reference", reference.name, "", operations, "", reference.note, "", "", "")
    for place, row in enumerate(rows, 1):
        judged = row.judgement
        table.add_row(str(place) if judged.counts else "-", *_cells(row, judged))
    return table


def _cells(row: Row, judged: Judgement) -> list[str]:
    seconds: list[Any] = [run.gpu_seconds for run in row.runs if run.gpu_seconds is not None]
    interval = f" ({judged.low:.2%} to {judged.high:.2%})" if judged.seeds > 1 else ""
    return [
        row.name,
        row.by,
        shown_operations(row.operations),
        short(sum(seconds) / len(seconds)) if len(seconds) == len(row.runs) else "",
        f"{judged.mean:.2%}{interval}",
        str(judged.seeds),
        f"{judged.p_value:.2g}" if judged.seeds > 1 else "",
        judged.why_not,
    ]


def tables_of(tracks: list[Track]) -> list[tuple[Track, Table]]:
    """Return each track with its table of records."""
    return [(track, track_table(track, records(track))) for track in tracks]
