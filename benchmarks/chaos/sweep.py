"""The config of the sweep that is disturbed."""

from __future__ import annotations

from pathlib import Path

import yaml

from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep


def write_sweep(folder: Path, trials: int, rounds: int) -> None:
    """Write ``sweep.yaml``: trials of some seconds with about a report each second.

    The settings of the trials do not depend on the order in which trials end.

    Args:
        folder: Folder for the file.
        trials: Number of trials.
        rounds: Number of disturbances, each of which may end the process of a trial.
    """
    flags = {
        "num_trials": trials,
        "checkpoint_seconds": 0,
        "max_failures": rounds,  # a killed process counts as a failure, since its cause is unknown
        "teacher_recipe": {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32},
    }
    small = ["total_pseudo_batches=24", "evaluation_interval=4", "batch_size=16"]
    preset = load_sweep("quickstart", flags=flags, assignments=small)
    # Whole blocks, since the other fields of the preset's blocks belong to other kinds.
    sweep = SweepConfig.model_validate(
        preset.model_dump() | {"sampler": {"name": "random"}, "scheduler": {"name": "none"}}
    )
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep.model_dump(mode="json", exclude={"storage"})))
