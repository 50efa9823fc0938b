"""The rows of one sweep as records."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.results.reader import ResultReader, read_sweeps, rows_of
from orchestrator.results.records import Metrics, Row, SessionRecord, TrialRecord
from orchestrator.storage import SweepStore


class SweepResults:
    """Reads the rows of one sweep, and no object twice: a later look reads what has come since.

    What it has read it shares with the results of other sweeps of the storage that ``sibling`` gives.
    """

    def __init__(self, sweep_store: SweepStore, reader: ResultReader | None = None) -> None:
        """Make the results of a sweep.

        Args:
            sweep_store: The sweep.
            reader: Knows a part of the storage already; defaults to a new one.
        """
        self.sweep_store = sweep_store
        self.reader = reader or ResultReader(sweep_store.storage)

    @property
    def sweep_id(self) -> str:
        """The sweep's id."""
        return self.sweep_store.sweep_id

    def sibling(self, sweep_id: str) -> SweepResults:
        """Return the results of another sweep of the same storage."""
        return SweepResults(self.sweep_store.sibling(sweep_id), self.reader)

    def confirming(self) -> SweepResults:
        """Return the results of the sweep that confirms this search."""
        return SweepResults(self.sweep_store.confirming(), self.reader)

    def trials(self) -> list[TrialRecord]:
        """Return the trials that have ended, by number."""
        return [TrialRecord.of_row(row) for row in rows_of(self.reader.read("trials", self.sweep_id))]

    def trials_with_damages(self) -> tuple[list[TrialRecord], dict[str, str]]:
        """Return the same, and without a warning the reason for each object that is damaged, by key."""
        rows, damaged = self.reader.read_with_damages("trials", self.sweep_id)
        return [TrialRecord.of_row(row) for row in rows_of(rows)], damaged

    def trials_of_storage(self) -> list[TrialRecord]:
        """Return the ended trials of all sweeps of the storage, by sweep and number."""
        return [TrialRecord.of_row(row) for row in rows_of(self.reader.read("trials"))]

    def reports(self) -> list[Row]:
        """Return the reports, by trial and student updates; columns of ``schema.REPORTS``, and metrics of a user's own."""
        return [Metrics(row) for row in rows_of(self.reader.read("reports", self.sweep_id))]

    def sessions(self) -> list[SessionRecord]:
        """Return the starts and ends of sessions, by time."""
        return [SessionRecord.of_row(row) for row in rows_of(read_sweeps(self.reader, self.sweep_id))]

    def trials_with_curves(self) -> set[str]:
        """Return the ids of the trials whose transition curves were kept; some may not have ended yet."""
        return {key.removesuffix(".parquet") for key in self.sweep_store.transition_curves.keys("")}

    def transition_curves(self, trial_id: str) -> pa.Table:
        """Return a trial's transition curves, as ``TransitionCurves.from_table`` takes them."""
        data = self.sweep_store.transition_curves.read(f"{trial_id}.parquet")
        return pq.read_table(pa.BufferReader(data)).drop_columns(["trial_id"])


SweepSource = SweepStore | SweepResults
"""What a sweep's rows are read from: the sweep, or results that know a part of its storage."""


def results_of(source: SweepSource) -> SweepResults:
    """Return the results, or new ones of the sweep."""
    return source if isinstance(source, SweepResults) else SweepResults(source)
