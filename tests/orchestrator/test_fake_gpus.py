"""GPUs that Ray counts and torch does not find: all that can be seen of sharing them on a machine without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.results import read_trials
from orchestrator.storage import find_storage

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_trials_share_gpus_fall_back_to_the_cpu_and_get_more_of_one_when_memory_is_short(tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    command = [sys.executable, "-m", "tests.orchestrator.fake_gpus", str(storage)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_trials(find_storage(str(storage)), "packed").to_pylist()
    assert [(row["state"], row["device"], row["recoveries"]) for row in rows] == [
        ("completed", "cpu", int(number == 0)) for number in range(5)
    ]
    assert done.stdout.count("a GPU was set aside, but torch finds none: trials run on the CPU, slowly") == 1
    assert "OutOfMemoryError: CUDA out of memory; it had 0.5 of a GPU and gets 1" in done.stdout
    for row in rows:
        seconds = row["training_seconds"] + row["evaluation_seconds"]
        assert row["gpu_seconds"] >= (1.0 if row["trial_id"] == "t0000" else 0.5) * seconds
