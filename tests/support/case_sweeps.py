"""Writes the rows of a sweep of cases."""

from __future__ import annotations

from typing import Any

from orchestrator.results import ResultWriter
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.storage import SweepStore
from tests.support.rows import trial
from trainables.storage.object_store import ObjectStore


def write(store: ObjectStore, sweep_id: str, number: int, config: Any, **changes: Any) -> None:
    row = trial(f"t{number:04d}")
    row |= {name: None for name in row if name.startswith(CONFIG_PREFIX)}
    row |= {CONFIG_PREFIX + name: value for name, value in config.model_dump().items()}
    ResultWriter(SweepStore(store, sweep_id)).write_trial(row | changes)
