"""A driver that dies at a write, whichever it is, and runs again: the sweep ends as one that was never disturbed.

Real processes are killed in ``test_killed_drivers``. Here the storage stops at the n-th write and raises what nobody
handles, for every tenth n of a sweep of twelve trials.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.chaos.comparison import differences
from orchestrator.config import SweepConfig
from orchestrator.results import read_reports, read_trials
from orchestrator.run.sweep import run_sweep
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage
from tests.support.tiny import make_inputs, tiny_settings
from tests.support.whole_sweeps import INLINE
from tests.support.writes import JOURNAL, before_each_write

EVERY = 10
"""Distance of the writes that are tried; so many see all kinds."""


class CrashError(BaseException):
    """The driver's process has gone: no exception that any code handles."""


class Disk:
    """Counts writes to storage, and stops at one of them, after which nothing is written any more."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.stops_at: int | None = None
        """Number of the write before which the process dies; None: it lives."""

    def write(self, what: str) -> None:
        if self.stops_at is not None and len(self.written) >= self.stops_at:
            raise CrashError(what)
        self.written.append(what)

    def restart(self, *, stops_at: int | None = None) -> None:
        self.written, self.stops_at = [], stops_at


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    counted = Disk()
    before_each_write(monkeypatch, counted.write)
    # Most of a session's time here:
    monkeypatch.setattr("trainables.trial_run.gc.collect", lambda: None)
    monkeypatch.setattr("trainables.training.image_snapshots._COUNTED", 8)
    return counted


def sweep_on(storage: str) -> SweepConfig:
    """A search that learns from its trials and stops some early, so that what is lost would change what comes later."""
    trial = tiny_settings(total_pseudo_batches=6)
    del trial["student_steps"]
    return SweepConfig.model_validate(
        {
            "name": "crashing",
            "trial": trial,
            "space": {
                "student_steps": {"type": "int", "low": 1, "high": 3},
                "temperature": {"type": "float", "low": 1, "high": 4},
            },
            # No two trials come to the same, as accuracies of so few images would.
            "objective": "student_loss",
            "mode": "min",
            "num_trials": 12,
            "sampler": {"name": "tpe", "startup_trials": 4},
            "scheduler": {"name": "asha", "grace": 0.5, "reduction_factor": 2},
            "checkpoint_seconds": 0,
            "storage": storage,
        }
    )


def run(sweep: SweepConfig, sweep_id: str) -> bool:
    """Run one session; return whether the sweep is finished."""
    return run_sweep(sweep, sweep_id=sweep_id, backend=INLINE, console=Console(file=io.StringIO())).finished


def outcome(sweep: SweepConfig, sweep_id: str) -> tuple[Any, ...]:
    """Return the study, the stored students, and the rows of a sweep that has ended."""
    places = SweepStore(find_storage(sweep.storage), sweep_id)
    study = open_study(places, modes=["min"])
    trials = [(t.number, t.state, t.params, t.values, t.intermediate_values) for t in study.trials]
    students = places.students.below(sweep_id)
    return trials, {key: students.read(key) for key in students.keys("")}


def rows(sweep: SweepConfig, sweep_id: str, read: Callable[..., Any]) -> list[dict[str, Any]]:
    found = [{**row, "pid": None} for row in read(find_storage(sweep.storage), sweep_id).to_pylist()]
    return sorted(found, key=lambda row: (row["trial_id"], row["pseudo_batches"]))


@pytest.mark.timeout(900)
def test_at_whichever_tenth_write_a_driver_dies_the_sweep_ends_as_if_it_had_not(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_on(str(tmp_path / "runs"))
    inputs = make_inputs(*sweep.configs())
    monkeypatch.setattr("orchestrator.run.session.prepare_inputs", lambda *_, **__: inputs)
    assert run(sweep, "calm")
    written = list(disk.written)
    assert len(written) > 150
    kinds = {path if path == JOURNAL else Path(path).parts[len(tmp_path.parts) + 1] for path in written}
    assert {JOURNAL, "results", "checkpoints", "students"} <= kinds
    expected = outcome(sweep, "calm")
    assert {state.name for _, state, *_ in expected[0]} == {"COMPLETE", "PRUNED"}
    for number in range(0, len(written), EVERY):
        sweep_id, place = f"crashed-{number}", written[number]
        disk.restart(stops_at=number)
        with pytest.raises(CrashError):
            run(sweep, sweep_id)
        disk.restart()
        assert run(sweep, sweep_id), place
        assert outcome(sweep, sweep_id) == expected, place
        for read in (read_trials, read_reports):
            assert differences(rows(sweep, sweep_id, read), rows(sweep, "calm", read)) == [], place
