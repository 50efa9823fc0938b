"""Reads the result store: one sweep or all of a storage, without double rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.results import keys
from orchestrator.results.schema import CONFIG_PREFIX, REPORTS, SWEEPS, TRIALS
from trainables.config import AnyTrialConfig, config_class
from trainables.object_store import ObjectStore

Row = dict[str, Any]
"""One row of a table, by column."""

_SWEEP_ID = pa.field("sweep_id", pa.string(), metadata={"description": "The sweep; on storage the name of a folder."})

_AT_ONCE = 256
"""Objects whose rows are joined into one table at a time: thousands of tables of one row each would take gigabytes."""

logger = logging.getLogger("zskt.results")
"""Says what had to be left out."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table's columns, those that name a row, and the one that says which of two copies is newer."""

    schema: pa.Schema
    key: tuple[str, ...]
    newest: str


_TABLES: dict[keys.ReadableTable, _Table] = {
    "sweeps": _Table(schema=SWEEPS, key=("session", "event"), newest="at"),
    "trials": _Table(schema=TRIALS, key=("trial_number",), newest="ended_at"),
    "reports": _Table(schema=REPORTS, key=("trial_id", "student_updates"), newest="reported_at"),
}


def read(store: ObjectStore, table: keys.ReadableTable = "trials", sweep_id: str | None = None) -> pa.Table:
    """One table of one sweep, or of all sweeps of a storage; its schema's columns after ``sweep_id``, without double rows.

    An object that is damaged is left out with a warning that names it: the others are worth reading.

    Example: ``read(find_storage("s3://bucket/prefix"), "reports").to_pandas()``
    """
    rows, damaged = read_with_damages(store, table, sweep_id)
    for name, reason in damaged.items():
        logger.warning(
            "%s cannot be read and is left out (%s): its rows are missing. Bring it back from a backup or an older version, "
            "or delete it",
            store.shown(name),
            reason,
        )
    return rows


def read_with_damages(
    store: ObjectStore, table: keys.ReadableTable, sweep_id: str | None = None
) -> tuple[pa.Table, dict[str, str]]:
    """The same, and instead of warnings the reason for each object that is damaged, by key."""
    below = keys.sweep_folder(table, sweep_id) if sweep_id else keys.table_folder(table)
    names = [name for name in store.keys(below) if name.endswith(".parquet")]
    spec = _TABLES[table]
    found: list[pa.Table] = [pa.schema([_SWEEP_ID, *spec.schema], metadata=spec.schema.metadata).empty_table()]
    damaged: dict[str, str] = {}
    for start in range(0, len(names), _AT_ONCE):
        some: list[pa.Table] = []
        # Those that are gone were compacted since we looked; the next look finds their rows.
        for name, data in store.read_found(names[start : start + _AT_ONCE]).items():
            try:
                some.append(_fitted(pq.read_table(pa.BufferReader(data)), spec.schema, keys.sweep_of(name)))
            except (OSError, pa.ArrowException) as error:
                damaged[name] = str(error).splitlines()[0]
        if some:
            found.append(pa.concat_tables(some).combine_chunks())
    return _without_copies(pa.concat_tables(found), ["sweep_id", *spec.key], spec.newest), damaged


def read_trials(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Trials that have ended, ordered by sweep and number; columns of ``schema.TRIALS`` and ``sweep_id``."""
    return read(store, "trials", sweep_id)


def read_reports(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Reports, ordered by sweep, trial and student updates; columns of ``schema.REPORTS`` and ``sweep_id``."""
    return read(store, "reports", sweep_id)


def read_sweeps(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Starts and ends of sessions, ordered by sweep and time; columns of ``schema.SWEEPS`` and ``sweep_id``."""
    return read(store, "sweeps", sweep_id).sort_by([("sweep_id", "ascending"), ("at", "ascending")])


def config_of(row: Mapping[str, Any]) -> AnyTrialConfig:
    """The config of the trial of a row, as it was written: fields of a later version are none, whatever their type."""
    model = config_class({"method": row[CONFIG_PREFIX + "method"]})
    return model.model_construct(**{name: row[CONFIG_PREFIX + name] for name in model.model_fields})


def _fitted(rows: pa.Table, schema: pa.Schema, sweep_id: str) -> pa.Table:
    """Its columns as this version has them: one of an earlier version is null where it is missing, of a later left out."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    full = pa.schema([_SWEEP_ID, *schema], metadata=schema.metadata)
    return pa.table([pa.array([sweep_id] * len(rows), pa.string()), *columns], schema=full)


def _without_copies(rows: pa.Table, key: list[str], newest: str) -> pa.Table:
    """Of rows with equal keys the newest, ordered by key."""
    order = pc.sort_indices(rows, [(name, "ascending") for name in (*key, newest)])
    rows = rows.take(order)
    if len(rows) < 2:
        return rows
    same = [pc.equal(rows[name].slice(1), rows[name].slice(0, len(rows) - 1)) for name in key]
    is_copied_later = same[0]
    for other in same[1:]:
        is_copied_later = pc.and_(is_copied_later, other)
    last = pa.chunked_array([*pc.invert(is_copied_later).chunks, pa.array([True])])
    return rows.filter(last)
