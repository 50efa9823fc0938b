"""GPUs that Ray counts and torch does not find: all that can be seen of sharing them on a machine without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config import SweepConfig
from orchestrator.results import read_sweeps, read_trials
from orchestrator.run.gpu_sharing import Sharing
from orchestrator.storage import find_storage
from tests.support.paths import ROOT


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_trials_share_gpus_fall_back_to_the_cpu_and_get_more_of_one_when_memory_is_short(tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    command = [sys.executable, "-m", "tests.support.fake_gpus", str(storage)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    store = find_storage(str(storage))
    rows = read_trials(store, "packed").to_pylist()
    assert [(row["state"], row["device"], row["recoveries"]) for row in rows] == [
        ("completed", "cpu", int(number == 0)) for number in range(5)
    ]
    packed, measured = done.stdout.split("sweep measured: ")
    assert packed.count("a GPU was set aside, but torch finds none: trials run on the CPU, slowly") == 1
    assert "OutOfMemoryError: CUDA out of memory; it had 0.5 of a GPU and gets 1" in packed
    for row in rows:
        seconds = row["training_seconds"] + row["evaluation_seconds"]
        assert row["gpu_seconds"] >= (1.0 if row["trial_id"] == "t0000" else 0.5) * seconds
    *_, session = read_sweeps(store, "measured").to_pylist()
    found = Sharing.model_validate_json(session["sharing_json"])
    assert (set(found.rates), found.gpu_bytes, found.cpus) == ({1, 2}, 0, 0.25)
    assert found.device_name == rows[0]["device_name"]
    assert f"{found.sentence(found.best)}\n" in measured
    assert SweepConfig.model_validate_json(session["config_json"]).gpus_per_trial == 1 / found.best
    assert [row["state"] for row in read_trials(store, "measured").to_pylist()] == ["completed"] * 4
