"""The result rows of one sweep, as records."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.results.reader import ResultReader, read_sweeps, rows_of
from orchestrator.results.records import Metrics, Row, SessionRecord, TrialRecord
from orchestrator.storage import SweepStore


class SweepResults:
    """Reads the rows of one sweep, and reads no object twice: later calls read only objects that were added since.

    The rows read are shared with the results of other sweeps that ``sibling`` returns.
    """

    def __init__(self, sweep_store: SweepStore, reader: ResultReader | None = None) -> None:
        """Make the results of a sweep.

        Args:
            sweep_store: The sweep.
            reader: A reader that may have read parts of the storage already. Defaults to a new reader.
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
        """Return the ended trials, by number, and the reason why each damaged object cannot be read, by key."""
        rows, damaged = self.reader.read_with_damages("trials", self.sweep_id)
        return [TrialRecord.of_row(row) for row in rows_of(rows)], damaged

    def trials_of_storage(self) -> list[TrialRecord]:
        """Return the ended trials of all sweeps of the storage, by sweep and number."""
        return [TrialRecord.of_row(row) for row in rows_of(self.reader.read("trials"))]

    def reports(self) -> list[Row]:
        """Return the reports by trial and student updates, with columns of ``schema.REPORTS`` and the user's own metrics."""
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
"""Where a sweep's rows are read from: the sweep, or results that have read parts of its storage already."""


def results_of(source: SweepSource) -> SweepResults:
    """Return ``source`` if it is results already, else new results of the sweep."""
    return source if isinstance(source, SweepResults) else SweepResults(source)
