"""Reads the result store: the rows of one sweep or of all sweeps of a storage, without duplicates."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.results.records import Row
from orchestrator.results.schema import REPORTS, SWEEPS, TRIALS
from orchestrator.storage import layout
from trainables.storage.object_store import ObjectStore

_SWEEP_ID = pa.field(
    "sweep_id", pa.string(), metadata={"description": "Id of the sweep; on storage the name of a folder."}
)

_OBJECT = pa.field("object", pa.string())
"""Column added to the rows in memory: the key of the object from which a row was read."""

_AT_ONCE = 256
"""Number of objects read and joined into one table at a time. Thousands of one-row tables would take gigabytes."""

_TOLD_AT_ONCE = 32
"""Number of objects handed over by their writer that are collected before they are joined; each takes 0.2 MB until then."""

logger = logging.getLogger("zskt.results")
"""Logger that warns of objects that had to be left out."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table's schema, the columns that identify a row (``key``), and the column that tells which copy is newest."""

    schema: pa.Schema
    key: tuple[str, ...]
    newest: str


_TABLES: dict[layout.ReadableTable, _Table] = {
    "sweeps": _Table(schema=SWEEPS, key=("session", "event"), newest="at"),
    "trials": _Table(schema=TRIALS, key=("trial_number",), newest="ended_at"),
    "reports": _Table(schema=REPORTS, key=("trial_id", "student_updates"), newest="reported_at"),
}


class ResultReader:
    """Reads the tables of one storage, and reads no object twice: later calls read only objects that were added since.

    Rows of an object that has disappeared (compacted or deleted) are dropped, and an object whose size has changed is read
    again. A rewritten object of equal size is not noticed; it can differ in its times only, as when a trial was resumed and
    repeated a report.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._known: dict[layout.ReadableTable, _Known] = {}
        self._told: set[str] = set()

    def read(self, table: layout.ReadableTable, sweep_id: str | None = None) -> pa.Table:
        """Return the rows of a table as the function ``read`` does, and warn once of each damaged object."""
        rows, damaged = self.read_with_damages(table, sweep_id)
        for name in sorted(damaged.keys() - self._told):
            logger.warning(
                "%s cannot be read and is left out (%s): its rows are missing. Restore it from a backup or an older "
                "version, or delete it",
                self.store.shown(name),
                damaged[name],
            )
        self._told |= damaged.keys()
        return rows

    def remember(self, table: layout.ReadableTable, key: str, rows: pa.Table, *, size: int) -> None:
        """Take over the rows of an object from its writer, so that the object need not be read.

        Args:
            table: The table to which the rows belong.
            key: Key of the object.
            rows: All rows of the object.
            size: Size of the object in bytes. As long as the size stays the same, so do the rows.
        """
        self._known_of(table).remember(key, rows, size)

    def read_with_damages(
        self, table: layout.ReadableTable, sweep_id: str | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """Return the rows of a table and, instead of warning, the reason why each damaged object cannot be read, by key."""
        below = layout.sweep_folder(table, sweep_id) if sweep_id else layout.table_folder(table)
        there = {name: size for name, size in self.store.sizes(below).items() if name.endswith(".parquet")}
        spec, known = _TABLES[table], self._known_of(table)
        known.join()
        known.forget(
            {key for key, size in known.sizes.items() if key.startswith(f"{below}/") and there.get(key) != size}
        )
        new = [name for name in there if name not in known.sizes]
        damaged: dict[str, str] = {}
        for start in range(0, len(new), _AT_ONCE):
            some: dict[pa.Schema, dict[str, pa.Table]] = defaultdict(dict)
            # Missing objects were compacted since they were listed; the next call finds their rows.
            for name, data in self.store.read_found(new[start : start + _AT_ONCE]).items():
                try:
                    rows = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
                    some[rows.schema][name] = rows
                except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                    damaged[name] = _in_a_line(error)
            for alike in some.values():
                damaged |= known.add(alike, there)
        rows = known.rows.drop_columns([_OBJECT.name])
        if sweep_id:
            rows = rows.filter(pc.is_in(rows["sweep_id"], _texts([sweep_id])))
            further = rows.schema.names[1 + len(_TABLES[table].schema) :]
            rows = rows.drop_columns([name for name in further if rows[name].null_count == len(rows)])
        return _without_copies(rows, ["sweep_id", *spec.key], spec.newest), damaged

    def _known_of(self, table: layout.ReadableTable) -> _Known:
        return self._known.setdefault(table, _Known(_TABLES[table].schema))


class _Known:
    """The rows read so far of one table, each with the key of its object. Duplicates are kept."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._told: dict[str, tuple[pa.Table, int]] = {}
        self.rows = _without_rows(_with_origin(schema))
        self.sizes: dict[str, int] = {}

    def remember(self, key: str, rows: pa.Table, size: int) -> None:
        self._told[key] = (rows, size)
        if len(self._told) >= _TOLD_AT_ONCE:
            self.join()

    def join(self) -> None:
        """Join the rows handed to ``remember`` with the rows read; rows of a rewritten object replace its earlier rows."""
        told, self._told = self._told, {}
        self.forget(told.keys() & self.sizes.keys())
        if told:
            self.add({key: rows for key, (rows, _) in told.items()}, {key: size for key, (_, size) in told.items()})

    def add(self, objects: Mapping[str, pa.Table], sizes: Mapping[str, int]) -> dict[str, str]:
        """Add the rows of objects with equal columns.

        The objects are cast to the schema together, which takes as long for one row as for hundreds.

        Returns:
            The reasons why objects could not be added, by key.
        """
        try:
            fitted = _fitted(objects, self._schema)
        except pa.ArrowException as error:
            if len(objects) == 1:
                return dict.fromkeys(objects, _in_a_line(error))
            return {k: v for key, rows in objects.items() for k, v in self.add({key: rows}, sizes).items()}
        self.rows = _joined(self.rows, fitted).combine_chunks()
        self.sizes |= {key: sizes[key] for key in objects}
        return {}

    def forget(self, objects: Collection[str]) -> None:
        if objects:
            gone = _texts(objects)
            self.rows = self.rows.filter(pc.invert(pc.is_in(self.rows[_OBJECT.name], gone)))
            self.sizes = {key: size for key, size in self.sizes.items() if key not in objects}


Source = ObjectStore | ResultReader
"""Where tables are read from: a storage, or a reader that has read parts of a storage already."""


def reader_of(source: Source) -> ResultReader:
    """Return ``source`` if it is a reader, else a new reader of the storage."""
    return source if isinstance(source, ResultReader) else ResultReader(source)


def read(source: Source, table: layout.ReadableTable = "trials", sweep_id: str | None = None) -> pa.Table:
    """Return a table of one sweep, or of all sweeps of a storage, without duplicate rows.

    Columns are ``sweep_id``, the columns of the table's schema, then further columns that only some rows have. A damaged
    object is left out with a warning that names the object.

    Example: ``read(find_storage("s3://bucket/prefix"), "reports").to_pandas()``
    """
    return reader_of(source).read(table, sweep_id)


def read_trials(source: Source, sweep_id: str | None = None) -> pa.Table:
    """Return the ended trials, ordered by sweep and number; columns of ``schema.TRIALS`` and ``sweep_id``."""
    return read(source, "trials", sweep_id)


def read_reports(source: Source, sweep_id: str | None = None) -> pa.Table:
    """Return the reports, ordered by sweep, trial and student updates; columns of ``schema.REPORTS`` and ``sweep_id``."""
    return read(source, "reports", sweep_id)


def read_sweeps(source: Source, sweep_id: str | None = None) -> pa.Table:
    """Return starts and ends of sessions, ordered by sweep and time; columns of ``schema.SWEEPS`` and ``sweep_id``."""
    return read(source, "sweeps", sweep_id).sort_by([("sweep_id", "ascending"), ("at", "ascending")])


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a result table as dictionaries, with times in UTC.

    ``Table.to_pylist`` alone imports pandas, which takes half a second, if a column has times with a zone.
    """
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    for name in times:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.timestamp("us")))
    rows: list[Row] = table.to_pylist()
    for row in rows:
        row.update({name: row[name].replace(tzinfo=UTC) for name in times if row[name] is not None})
    return rows


def _fitted(objects: Mapping[str, pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of objects with equal columns in one table with the columns of ``schema``.

    A column that the objects lack, since an earlier version wrote them, is null. Columns that the schema lacks, of a user's
    own parts or of a later version, come last.
    """
    rows = pa.concat_tables(objects.values())
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    origins = [key for key, own in objects.items() for _ in range(len(own))]
    sweeps = [layout.sweep_of(key) for key in origins]
    fitted = pa.Table.from_arrays([_texts(sweeps), *columns, _texts(origins)], schema=_with_origin(schema))
    for name in rows.schema.names:
        if name not in fitted.schema.names:
            fitted = fitted.append_column(name, rows[name])
    return fitted


def _joined(known: pa.Table, new: pa.Table) -> pa.Table:
    """Return the rows of both tables; a column whose types differ, as users' own columns may, becomes text."""
    for name in set(known.schema.names) & set(new.schema.names):
        if known.schema.field(name).type != new.schema.field(name).type:
            known, new = (
                table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.string()))
                for table in (known, new)
            )
    return pa.concat_tables([known, new], promote_options="default")


def _texts(texts: Collection[str]) -> pa.Array:
    """Return an array of strings.

    ``pa.array`` and ``pa.scalar`` are not used, since they ask pandas whether their argument is a series, and importing
    pandas takes half a second.
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _without_rows(schema: pa.Schema) -> pa.Table:
    """Return a table without rows. ``schema.empty_table`` is not used, since it imports pandas: see ``_texts``."""
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _in_a_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _full(schema: pa.Schema) -> pa.Schema:
    return pa.schema([_SWEEP_ID, *schema], metadata=schema.metadata)


def _with_origin(schema: pa.Schema) -> pa.Schema:
    return _full(schema).append(_OBJECT)


def _without_copies(rows: pa.Table, key: list[str], newest: str) -> pa.Table:
    """Return only the newest of the rows with equal keys, ordered by key."""
    order = pc.sort_indices(rows, [(name, "ascending") for name in (*key, newest)])
    rows = rows.take(order)
    if len(rows) < 2:
        return rows
    same = [pc.equal(rows[name].slice(1), rows[name].slice(0, len(rows) - 1)) for name in key]
    is_copied_later = same[0]
    for other in same[1:]:
        is_copied_later = pc.and_(is_copied_later, other)
    is_last = pc.is_null(pa.nulls(1))  # true, built without pa.array: see ``_texts``
    last = pa.chunked_array([*pc.invert(is_copied_later).chunks, is_last])
    return rows.filter(last)
