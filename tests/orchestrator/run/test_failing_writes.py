"""A sweep in which each write to storage fails once: its session ends, and the next one makes good what is missing."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.chaos.comparison import differences
from orchestrator.config import SweepConfig
from orchestrator.errors import StorageError
from orchestrator.results import read_reports, read_trials
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage
from tests.support.tiny import make_inputs, tiny_settings
from tests.support.writes import before_each_write
from trainables.evaluation import mean_transition_error, transition_curves
from trainables.storage.object_store import ObjectStore


class Writes:
    """Counts what is written to a local storage, and lets one of these writes fail as on a full disk."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.failing: int | None = None
        """Number of the write that fails; None: none does."""

    def count(self, what: str) -> None:
        self.written.append(what)
        if len(self.written) - 1 == self.failing:
            raise OSError(28, "No space left on device")


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    counted = Writes()
    before_each_write(monkeypatch, counted.count)
    return counted


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepConfig:
    """Two trials, each of which leaves a student and transition curves."""
    monkeypatch.setattr("trainables.trial.transition_curves", partial(transition_curves, steps=3))
    monkeypatch.setattr("trainables.trial.mean_transition_error", partial(mean_transition_error, points=3))
    monkeypatch.setattr("trainables.trial_run.gc.collect", lambda: None)  # most of a session's time here
    search = SweepConfig.model_validate(
        {
            "name": "tiny",
            "trial": tiny_settings(student_steps=1, transition_images=4),
            "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
            "num_trials": 2,
            "checkpoint_seconds": 0,
            "sampler": {"name": "random"},
            "scheduler": {"name": "none"},
            "storage": str(tmp_path / "runs"),
        }
    )
    inputs = make_inputs(*search.configs())
    monkeypatch.setattr("orchestrator.run.session.prepare_inputs", lambda *_, **__: inputs)
    return search


def run(sweep: SweepConfig, sweep_id: str) -> bool:
    """One session; whether the sweep is finished."""
    choice = BackendChoice(name="inline")
    return run_sweep(sweep, sweep_id=sweep_id, backend=choice, console=Console(file=io.StringIO())).finished


def kept(store: ObjectStore, sweep_id: str) -> dict[str, bytes]:
    """The students and transition curves of a sweep, by their trial's name."""
    places = SweepStore(store, sweep_id)
    students = places.students.below(sweep_id)
    return {key: folder.read(key) for folder in (students, places.transition_curves) for key in folder.keys("")}


def without_costs(store: ObjectStore, sweep_id: str, read: Callable[..., Any]) -> list[dict[str, Any]]:
    rows = [{**row, "gpu_seconds": None, "pid": None} for row in read(store, sweep_id).to_pylist()]
    return sorted(rows, key=lambda row: (row["trial_id"], row["pseudo_batches"]))


def study(store: ObjectStore, sweep_id: str) -> list[tuple[object, ...]]:
    trials = open_study(SweepStore(store, sweep_id), modes=["max"]).trials
    return [(trial.number, trial.state, trial.params, trial.values, trial.intermediate_values) for trial in trials]


@pytest.mark.timeout(600)
def test_whichever_write_fails_the_next_session_ends_the_sweep_as_if_none_had(
    sweep: SweepConfig, writes: Writes
) -> None:
    assert run(sweep, "undisturbed")
    store, written = find_storage(sweep.storage), [Path(path) for path in writes.written]
    assert len(kept(store, "undisturbed")) == 4
    passed_over = []
    for number, file in enumerate(written):
        sweep_id, place = f"disturbed-{number}", f"{file.parent.name}/{file.name}"
        writes.written, writes.failing = [], number
        try:
            run(sweep, sweep_id)
        except StorageError as error:
            assert "No space left on device" in str(error)
        else:
            passed_over.append(place)
        ended = {row["trial_id"] for row in read_trials(store, sweep_id).to_pylist()}
        assert {f"{trial}.{kind}" for trial in ended for kind in ("safetensors", "parquet")} <= kept(
            store, sweep_id
        ).keys(), place
        writes.failing = None
        assert run(sweep, sweep_id), place
        assert kept(store, sweep_id) == kept(store, "undisturbed"), place
        for read in (read_trials, read_reports):
            ours, theirs = (without_costs(store, each, read) for each in (sweep_id, "undisturbed"))
            assert differences(ours, theirs) == [], place
        assert study(store, sweep_id) == study(store, "undisturbed"), place
    # Pictures, a checkpoint before the last one, and the session's own last row: no trial is without what came out of it.
    assert passed_over == [
        "sweep_id=undisturbed/t0000-0000000002.parquet",
        "t0000/0000000002.safetensors",
        "sweep_id=undisturbed/t0000-0000000004.parquet",
        "sweep_id=undisturbed/t0001-0000000002.parquet",
        "t0001/0000000002.safetensors",
        "sweep_id=undisturbed/t0001-0000000004.parquet",
        "sweep_id=undisturbed/session-0000-ended.parquet",
    ]
