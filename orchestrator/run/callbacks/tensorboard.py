"""TensorBoard files, for those who want them: a run for each trial, a curve for each metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from tensorboardX import SummaryWriter

from orchestrator.storage import layout, local_path
from trainables.metrics import METRICS, finite
from trainables.storage.object_store import ObjectStore
from trainables.trial_result import parse_settings


class TensorBoardWriter(Callback):
    """Writes each report once more. The result store stays what counts: nothing reads these files but TensorBoard."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: Of this machine; each trial has one below it."""
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune's hook."""
        key, config = trial.config["trial_id"], parse_settings(trial.config)
        writer = self._writers.get(key)
        if writer is None:
            writer = self._writers[key] = SummaryWriter(str(self._folder / key))
        for metric in METRICS:
            value = finite(result.get(metric.name))
            if value is not None:
                writer.add_scalar(metric.name, value, result[config.unit])
        writer.flush()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._close(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._close(trial)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into a file that nobody reads; open files cannot be.
        return {}

    def _close(self, trial: Trial) -> None:
        writer = self._writers.pop(trial.config["trial_id"], None)
        if writer is not None:
            writer.close()


def tensorboard_folder(store: ObjectStore, sweep_id: str) -> Path:
    """Where a sweep's files go: beside its results if these are on this machine's disk, else ``./tensorboard/<id>``."""
    return local_path(store, layout.tensorboard_folder(sweep_id)) or Path(layout.tensorboard_folder(sweep_id))
