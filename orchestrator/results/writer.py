"""Writes rows as they come. Each object is immutable, published whole, and has a key that follows from its content:
writing a row twice, after a recovery, changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.results import reader
from orchestrator.results.records import SessionEvent
from orchestrator.results.schema import CONFIG_PREFIX, REPORTS, SWEEPS, TRIALS
from orchestrator.storage import SweepStore, layout

Row = Mapping[str, Any]


class ResultWriter:
    """Writes the rows of one sweep. Keys of a row that are not in its schema are an error; missing ones are null.

    What the schema does not have, settings of a user's own method and metrics of a user's own, gets a column in the rows
    that have it.
    """

    def __init__(self, sweep_store: SweepStore) -> None:
        self._store = sweep_store.storage
        self._sweep_id = sweep_store.sweep_id
        self._reader = reader.ResultReader(self._store)

    def write_report(self, row: Row, own: Collection[str] = ()) -> None:
        """Keep one report.

        Args:
            row: Its columns.
            own: Names of the user's own metrics in it.
        """
        key = layout.report_object(self._sweep_id, row["trial_id"], row["student_updates"])
        self._write("reports", key, REPORTS, row, own)

    def write_trial(self, row: Row, own: Collection[str] = ()) -> None:
        """Keep a trial that has ended; arguments as of ``write_report``."""
        self._write("trials", layout.trial_object(self._sweep_id, row["trial_id"]), TRIALS, row, own)

    def write_session(self, row: Row) -> None:
        """Keep the start or the end of a session."""
        event = "started" if row["event"] == SessionEvent.STARTED else "ended"
        self._write("sweeps", layout.session_object(self._sweep_id, row["session"], event), SWEEPS, row)

    def compact(self) -> None:
        """Gather the small objects of trials and reports into one each.

        The new object is complete before the first old one goes; in between, and after a crash there, rows are double
        and ``reader`` leaves the copies out. An object that cannot be read stays where it is, for whoever can mend it.
        Rows that this writer has written are not fetched again.
        """
        tables: tuple[layout.ReadableTable, ...] = ("trials", "reports")
        for table in tables:
            old = self._store.keys(layout.sweep_folder(table, self._sweep_id))
            if len(old) < 2:
                continue
            rows, damaged = self._reader.read_with_damages(table, self._sweep_id)
            generation = 1 + max((int(key[-12:-8]) for key in old if "/part-" in key), default=-1)
            self._store.write(
                layout.compacted_object(table, self._sweep_id, generation), _parquet(rows.drop_columns(["sweep_id"]))
            )
            self._store.delete_all(key for key in old if key not in damaged)

    def _write(
        self, table: layout.ReadableTable, key: str, schema: pa.Schema, row: Row, own: Collection[str] = ()
    ) -> None:
        further = {name: value for name, value in row.items() if name not in schema.names}
        unknown = [name for name in further if not name.startswith(CONFIG_PREFIX) and name not in own]
        if unknown:
            raise ValueError(f"{key}: no such columns: {', '.join(sorted(unknown))}")
        known = {name: value for name, value in row.items() if name not in further}
        rows = pa.Table.from_pylist([known], schema=_without_descriptions(schema))
        for name, value in sorted(further.items()):
            if value is not None:
                rows = rows.append_column(name, pa.array([value]))
        # Of one row a dictionary and the largest value tell nothing, and there are thousands of such objects.
        data = _parquet(rows, use_dictionary=False, write_statistics=False)
        try:
            self._store.write(key, data)
        except BaseException:
            self._reader = reader.ResultReader(self._store)  # the object may be there all the same
            raise
        self._reader.remember(table, key, rows, size=len(data))


@cache
def _without_descriptions(schema: pa.Schema) -> pa.Schema:
    """They would be more than half of an object of one row; ``compact`` brings them back."""
    return pa.schema([pa.field(field.name, field.type) for field in schema], metadata=schema.metadata)


def _parquet(table: pa.Table, **how: bool) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    return buffer.getvalue()
