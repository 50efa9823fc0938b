"""Optional TensorBoard files, with a run for each trial and a curve for each metric."""

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
    """Writes each report to TensorBoard files as well. Only TensorBoard reads them, never this program."""

    def __init__(self, folder: Path) -> None:
        """Make the writer; each trial gets a folder of its own below ``folder``, a folder of this machine."""
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Write a report's metrics."""
        key = trial.key
        writer = self._writers.get(key)
        if writer is None:
            # Imported late, since tensorboardX imports boto3 if that is installed.
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
