"""Writes result rows one by one.

Each object is immutable, published whole, and has a key that follows from its content, so that writing a row twice, after a
recovery, changes nothing.
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
    """Writes the rows of one sweep. An unknown key in a row is an error; a missing key becomes null.

    Settings of a user's own method and the user's own metrics, which the schema does not have, get columns in the rows that
    have them.
    """

    def __init__(self, sweep_store: SweepStore) -> None:
        self._store = sweep_store.storage
        self._sweep_id = sweep_store.sweep_id
        self._reader = reader.ResultReader(self._store)

    def write_report(self, row: Row, own: Collection[str] = ()) -> None:
        """Write the row of one report.

        Args:
            row: Values by column.
            own: Names of the user's own metrics in the row.
        """
        key = layout.report_object(self._sweep_id, row["trial_id"], row["student_updates"])
        self._write("reports", key, REPORTS, row, own)

    def write_trial(self, row: Row, own: Collection[str] = ()) -> None:
        """Write the row of a trial that has ended. The arguments are those of ``write_report``."""
        self._write("trials", layout.trial_object(self._sweep_id, row["trial_id"]), TRIALS, row, own)

    def write_session(self, row: Row) -> None:
        """Write the row for the start or the end of a session."""
        event = "started" if row["event"] == SessionEvent.STARTED else "ended"
        self._write("sweeps", layout.session_object(self._sweep_id, row["session"], event), SWEEPS, row)

    def compact(self) -> None:
        """Merge the many small objects of the tables of trials and reports into one object per table.

        The new object is complete before the first old object is deleted. In between, and after a crash there, rows are
        stored twice, and ``reader`` leaves out the duplicates. A damaged object is kept, so that it can be repaired. Rows
        that this writer has written are not read again.
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
        # Dictionaries and statistics are useless for a single row, and there are thousands of such objects.
        data = _parquet(rows, use_dictionary=False, write_statistics=False)
        try:
            self._store.write(key, data)
        except BaseException:
            self._reader = reader.ResultReader(self._store)  # the object may have been written in spite of the error
            raise
        self._reader.remember(table, key, rows, size=len(data))


@cache
def _without_descriptions(schema: pa.Schema) -> pa.Schema:
    """Return a schema without column descriptions, which would take more than half of an object with one row.

    ``compact`` writes the descriptions again.
    """
    return pa.schema([pa.field(field.name, field.type) for field in schema], metadata=schema.metadata)


def _parquet(table: pa.Table, **how: bool) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    return buffer.getvalue()
