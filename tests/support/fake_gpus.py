"""Two sweeps on three GPUs that Ray counts and nobody has: run as a program, since a process has one Ray.

python -m tests.support.fake_gpus STORAGE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console

from cluster.local_ray import local_ray
from cluster.private_folder import private_folder
from orchestrator.run.sweep import run_sweep
from tests.support.whole_sweeps import sweep_of
from trainables.ray_trainables import TrialTrainable

TRIALS = 5
"""More than there are GPUs."""


class Meeting(TrialTrainable):
    """Waits in its first step until all trials of the sweep run; the first one has too little memory with half of a GPU."""

    folder: Path

    def step(self) -> dict[str, Any]:
        """As ``TrialTrainable`` does."""
        run = self.trial_run
        assert run is not None
        (self.folder / run.trial_id).touch()
        deadline = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < TRIALS:
            assert time.monotonic() < deadline, "the others do not run beside this one"
            time.sleep(0.1)
        if run.trial_id == "t0000" and run.place.gpus < 1:
            with patch.object(self.training, "advance", _lack_memory):
                return super().step()
        return super().step()


def _lack_memory(**_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def main(storage: str) -> None:
    """Run them."""
    Meeting.folder = Path(storage, "meeting")
    Meeting.folder.mkdir(parents=True)
    with private_folder() as folder, local_ray(folder, cpus=2, gpus=3, object_store_bytes=100 * 2**20):
        _run_both(storage)


def _run_both(storage: str) -> None:
    sweep = sweep_of(storage, num_trials=TRIALS, resources={"cpu": 0.25, "gpu": 0.5})
    with patch("orchestrator.run.tune.TrialTrainable", Meeting):
        outcome = run_sweep(sweep, sweep_id="packed", console=Console(width=200))
    assert outcome.finished
    with (
        patch("orchestrator.run.calibration.MEASURED_SECONDS", 0.5),
        patch("orchestrator.run.calibration.LEAST_WORK_SECONDS", 0.0),
    ):
        sweep = sweep_of(storage, num_trials=4, resources={"cpu": 0.25, "gpu": "auto"})
        assert run_sweep(sweep, sweep_id="measured", console=Console(width=200)).finished


if __name__ == "__main__":
    main(sys.argv[1])
