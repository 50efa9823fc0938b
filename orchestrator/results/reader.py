"""Reads the result store: one sweep or all of a storage, without double rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from orchestrator.results import keys
from orchestrator.results.schema import CONFIG_PREFIX, REPORTS, SWEEPS, TRIALS
from trainables.config import AnyTrialConfig, config_class
from trainables.object_store import ObjectStore

Row = dict[str, Any]
"""One row of a table, by column."""

_PARTITIONING = ds.partitioning(pa.schema([("sweep_id", pa.string())]), flavor="hive")


def read_trials(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Trials that have ended, ordered by sweep and number; columns of ``schema.TRIALS`` and ``sweep_id``."""
    return _read(store, "trials", TRIALS, sweep_id, ["trial_number"], "ended_at")


def read_reports(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Reports, ordered by sweep, trial and student updates; columns of ``schema.REPORTS`` and ``sweep_id``."""
    return _read(store, "reports", REPORTS, sweep_id, ["trial_id", "student_updates"], "reported_at")


def read_sweeps(store: ObjectStore, sweep_id: str | None = None) -> pa.Table:
    """Starts and ends of sessions, ordered by sweep and time; columns of ``schema.SWEEPS`` and ``sweep_id``."""
    return _read(store, "sweeps", SWEEPS, sweep_id, ["session", "event"], "at").sort_by(
        [("sweep_id", "ascending"), ("at", "ascending")]
    )


def config_of(row: Mapping[str, Any]) -> AnyTrialConfig:
    """The config of the trial of a row, as it was written: fields of a later version are none, whatever their type."""
    model = config_class({"method": row[CONFIG_PREFIX + "method"]})
    return model.model_construct(**{name: row[CONFIG_PREFIX + name] for name in model.model_fields})


def _read(
    store: ObjectStore, table: keys.Table, schema: pa.Schema, sweep_id: str | None, key: list[str], newest: str
) -> pa.Table:
    folder = keys.table_folder(table)
    below = keys.sweep_folder(table, sweep_id) if sweep_id else folder
    paths = [store.path(name) for name in store.keys(below) if name.endswith(".parquet")]
    full_schema = pa.schema([pa.field("sweep_id", pa.string()), *schema], metadata=schema.metadata)
    if not paths:
        return full_schema.empty_table()
    rows = ds.dataset(
        paths,
        schema=full_schema,
        format="parquet",
        filesystem=store.filesystem,
        partitioning=_PARTITIONING,
        partition_base_dir=store.path(folder),
    ).to_table()
    return _without_copies(rows, ["sweep_id", *key], newest)


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
