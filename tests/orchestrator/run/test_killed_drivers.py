"""A sweep whose driver is killed again and again, or asked to stop, ends as one that nobody disturbed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from benchmarks.chaos.comparison import differences
from orchestrator.config import SweepConfig
from orchestrator.results import read_reports, read_sweeps, read_trials
from orchestrator.schedulers.asha import AshaRule
from orchestrator.search.study import open_study, past_reports
from orchestrator.storage import SweepStore, find_storage
from tests.support.paths import ROOT
from tests.support.tiny import tiny_settings
from tests.support.whole_sweeps import start

pytestmark = [pytest.mark.ray, pytest.mark.own_processes, pytest.mark.slow, pytest.mark.timeout(900)]

STOPS = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
"""Real signals to a real process. Every tenth write at which a driver may die is tried in ``test_crashes``."""


def sweep_on(storage: Path) -> SweepConfig:
    trial = tiny_settings(validation_fraction=0.1, total_pseudo_batches=12)
    del trial["student_steps"]
    return SweepConfig.model_validate(
        {
            "name": "killed",
            "trial": trial,
            "space": {
                "student_steps": {"type": "int", "low": 1, "high": 10},
                "temperature": {"type": "float", "low": 1, "high": 4},
            },
            "num_trials": 12,
            "sampler": {"name": "tpe", "startup_trials": 4},
            "scheduler": {"name": "asha", "grace": 0.25, "reduction_factor": 2},
            "teacher_recipe": {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32},
            "resources": {"cpu": 2},  # one trial at a time, since what a search learns first depends on what ends first
            "checkpoint_seconds": 0,
            "storage": str(storage),
        }
    )


def finish(file: Path, sweep_id: str) -> str:
    process = start([str(file), "--sweep-id", sweep_id])
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def ended(storage: Path) -> dict[str, float]:
    """When each row of the disturbed sweep was written."""
    rows = (storage / "results" / "v1" / "trials" / "sweep_id=killed").glob("t*.parquet")
    return {row.name: row.stat().st_mtime for row in rows}


def known(sweep: SweepConfig, sweep_id: str) -> tuple[list[Any], list[Any]]:
    """What a study knows of its trials, and the rungs that follow."""
    study = open_study(SweepStore(find_storage(sweep.storage), sweep_id), modes=["max"])
    trials = [(t.number, t.state, t.params, t.values, t.intermediate_values) for t in study.trials]
    assert TrialState.RUNNING not in {t.state for t in study.trials}
    asha = sweep.scheduler.build(mode="max", budget=sweep.trial_budget, past_reports=past_reports(study))
    assert isinstance(asha, AshaRule)
    return trials, [asha.entries(rung) for rung in asha.rungs]


@pytest.mark.usefixtures("ray_local")
def test_kills_at_random_moments_and_requests_to_stop_change_nothing(tmp_path: Path) -> None:
    sweep_folder = tmp_path / "runs"
    sweep = sweep_on(sweep_folder)
    file = tmp_path / "killed.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    assert "run_sweep.py" in finish(file, "calm").partition("Best setting again: ")[2]
    rows: dict[str, float] = {}
    journal = sweep_folder / "studies" / "killed" / "journal.log"
    moments = random.Random(5)
    for stop in STOPS:
        entries = moments.randint(2, 10)  # a whole sweep writes some 170
        before = journal.stat().st_size if journal.exists() else 0
        process = start([str(file), "--sweep-id", "killed"])
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            written = journal.read_bytes()[before:].count(b"\n") if journal.exists() else 0
            if written >= entries:
                break
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(stop)
        printed, _ = process.communicate(timeout=60)
        if stop is not signal.SIGKILL:
            assert process.returncode == 130, printed
            again = printed.partition("The same command resumes this sweep: ")[2]
            assert f"{ROOT / 'run_sweep.py'} {file} --sweep-id killed" in again
        now = ended(sweep_folder)
        assert now.items() >= rows.items(), "an ended trial was run again"
        rows = now
    assert f"{len(rows)} ended before" in finish(file, "killed")
    assert known(sweep, "killed") == known(sweep, "calm")
    store = find_storage(sweep.storage)
    events = read_sweeps(store, "killed")["event"].to_pylist()
    assert events.count("started") == len(STOPS) + 1
    assert events.count("interrupted") == 2
    assert events[-1] == "finished"
    for read in (read_trials, read_reports):
        assert differences(read(store, "killed").to_pylist(), read(store, "calm").to_pylist()) == []
