"""The sweep that is disturbed."""

from __future__ import annotations

from pathlib import Path

import yaml

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep


def write_sweep(folder: Path, trials: int, rounds: int) -> None:
    """Trials of some seconds with a report each second, whose settings do not depend on which of them ends first."""
    flags = {
        "num_trials": trials,
        "checkpoint_seconds": 0,
        "max_failures": rounds,  # a process that dies by itself is one, and nobody knows whose fault it was
        "teacher_recipe": {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32},
    }
    small = ["total_pseudo_batches=24", "evaluation_interval=4", "batch_size=16"]
    preset = load_sweep("quickstart", flags=flags, assignments=small)
    # In place of the preset's blocks, whose other fields are of their own kinds.
    sweep = SweepConfig.model_validate(
        preset.model_dump() | {"sampler": {"name": "random"}, "scheduler": {"name": "none"}}
    )
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep.model_dump(mode="json", exclude={"storage"})))
