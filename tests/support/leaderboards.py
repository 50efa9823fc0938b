"""Writes the rows of a search with known best trials."""

from __future__ import annotations

from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.results.sessions import session_row
from orchestrator.storage import SweepStore
from tests.support.rows import trial
from trainables.storage.object_store import ObjectStore

SWEEP = load_sweep("quickstart")


def write(store: ObjectStore, rows: list[dict[str, Any]], sweep: SweepConfig = SWEEP) -> None:
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    searched = ["generator_steps", "student_steps", "temperature"]
    writer.write_session(session_row(sweep, searched, number=0, event=SessionEvent.STARTED, cpus=2, gpus=0))
    base = {CONFIG_PREFIX + name: value for name, value in sweep.trial_config({}).model_dump().items()}
    for number, row in enumerate(rows):
        writer.write_trial(trial(f"t{number:04d}", **{**base, "pseudo_batches": 120, **row}))
