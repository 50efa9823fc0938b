"""Whole sweeps, in this process or on Ray, run by function or by command."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import ray
from rich.console import Console

from orchestrator.config import SweepConfig
from orchestrator.results import read_trials
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.storage import find_storage
from tests.support.paths import ROOT
from tests.support.tiny import tiny_settings
from trainables.teachers.teacher import Teacher
from trainables.trial import TrialInputs


def sweep_of(storage: str, **changes: Any) -> SweepConfig:
    settings: dict[str, Any] = {
        "name": "tiny",
        "trial": tiny_settings(validation_fraction=0.5),
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 3,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32},
        "storage": storage,
    }
    settings["trial"] |= changes.pop("trial", {})
    for field in changes.get("space", {}):
        settings["trial"].pop(field, None)
    return SweepConfig.model_validate(settings | changes)


INLINE = BackendChoice(name="inline")


def run(sweep: SweepConfig, sweep_id: str, *, backend: BackendChoice | None = None) -> str:
    """Run a sweep to its end with a driver in this process, its trials on Ray; return what it printed."""
    out = io.StringIO()
    outcome = run_sweep(sweep, sweep_id=sweep_id, console=Console(file=out, width=200), backend=backend)
    assert outcome.finished
    return out.getvalue()


def run_inline(sweep: SweepConfig, sweep_id: str) -> str:
    """Run a sweep to its end, its trials in this process too; return what it printed."""
    return run(sweep, sweep_id, backend=INLINE)


def trials(storage: str, sweep_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_trials(find_storage(storage), sweep_id).to_pylist()
    return rows


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """A driver of its own, on the Ray that the tests share: starting one takes as long as the rest."""
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, str(ROOT / "run_sweep.py"), *arguments, "--address", address]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def teacher_in(inputs: TrialInputs) -> Teacher:
    (teacher,) = inputs.teachers.values()
    return teacher
