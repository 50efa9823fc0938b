"""TensorBoard files, for those who want them: a run for each trial, a curve for each metric."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.run.callbacks.base import TrialCallback, TrialFailure
from orchestrator.search.trial_queue import SweepTrial
from trainables.metrics import METRICS, finite

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class TensorBoardWriter(TrialCallback):
    """Writes each report once more. The result store stays what counts: nothing reads these files but TensorBoard."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: Of this machine; each trial has one below it."""
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Write a report's metrics."""
        key = trial.key
        writer = self._writers.get(key)
        if writer is None:
            # It loads boto3 where that is installed.
            from tensorboardX import SummaryWriter

            writer = self._writers[key] = SummaryWriter(str(self._folder / key))
        for name in (*(metric.name for metric in METRICS), *trial.config.own_metrics):
            value = finite(result.get(name))
            if value is not None:
                writer.add_scalar(name, value, result[trial.config.unit])
        writer.flush()

    def on_trial_end(self, trial: SweepTrial) -> None:
        """Close the trial's file."""
        self._close(trial)

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Close the trial's file."""
        self._close(trial)

    def _close(self, trial: SweepTrial) -> None:
        writer = self._writers.pop(trial.key, None)
        if writer is not None:
            writer.close()
