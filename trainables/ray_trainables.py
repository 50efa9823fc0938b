"""Thin wrapper that makes a trial a Ray Tune trainable; the trial itself is in ``trainables.trial_run``.

Trials are resumed from checkpoints of this project, not from Tune's. Tune's checkpoints are tied to one ``Tuner``, and a
restored Tuner cannot be extended and does not reliably restore the state of searcher and scheduler. ``save_checkpoint`` and
``load_checkpoint`` serve users of the class who use Tune without this project's driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.tune import Trainable

from trainables.storage import checkpoint
from trainables.system.own_files import OwnFile, hold
from trainables.training.protocol import Training
from trainables.trial import RunningTrial, TrialInputs, TrialStorage
from trainables.trial_result import Place
from trainables.trial_run import TrialRun

_FILE = "trial.safetensors"


class TrialTrainable(Trainable):
    """Trainable for a trial of any method, whose process Tune can reuse for the next trial.

    ``config`` is a flat dict with ``trial_id``, optionally ``case`` and ``gpus``, and the config fields of the trial's
    ``method``. Each ``step`` trains up to the next report and returns it.
    """

    trial_run: TrialRun | None = None
    """Trial in this process; None until ``setup`` has returned."""

    def setup(
        self,
        config: dict[str, Any],
        inputs: TrialInputs | None = None,
        storage: TrialStorage | None = None,
        *,
        checkpoint_seconds: float = 60.0,
        leaving: Callable[[], bool] = lambda: False,
        draining: Callable[[], bool] = lambda: False,
        code: Sequence[OwnFile] = (),
        borrow_credentials: Callable[[], None] = lambda: None,
    ) -> None:
        """Build the trial, or resume it from its newest checkpoint.

        A permanent error is not raised, since Tune would then retry, but returned by the first ``step``.

        Args:
            config: See the class.
            inputs: Teachers and images, passed by ``tune.with_parameters``.
            storage: Storage of the sweep's checkpoints, students and curves. Defaults to storing nothing.
            checkpoint_seconds: Wall time between two checkpoints, in seconds. 0 means a checkpoint at each report.
            leaving: Returns whether this machine is about to be preempted.
            draining: Returns whether Ray would place the trial on another node if its process ended.
            code: Files of the user's own that the trial may name, which other machines than the driver's do not have.
            borrow_credentials: Called first, to take over the driver's storage credentials if this process has none.

        Raises:
            ValueError: ``inputs`` is missing.
            OSError, pyarrow.ArrowException, torch.AcceleratorError: a transient error, worth a retry.
        """
        if inputs is None:
            raise ValueError("TrialTrainable needs its inputs: tune.with_parameters(TrialTrainable, inputs=...)")
        borrow_credentials()
        hold(code)
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        place = Place(
            cpus=resources.get("CPU", 1),
            gpus=resources.get("GPU", 0),
            node_id=ray.get_runtime_context().get_node_id() if ray.is_initialized() else "",
            leaving=leaving,
            draining=draining,
            leave=ray.actor.exit_actor,
        )
        self.trial_run = TrialRun.start(
            config, inputs=inputs, storage=storage, checkpoint_seconds=checkpoint_seconds, place=place
        )

    def step(self) -> dict[str, Any]:
        """Train up to the next report and return it, see ``TrialRun.step``."""
        assert self.trial_run is not None  # Tune has called setup
        return self.trial_run.step()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this process as a new process would, without any state of the last trial."""
        unread = self._close()
        self.config = new_config
        self.setup(new_config)
        assert self.trial_run is not None
        self.trial_run.notes[:0] = unread
        return True

    def cleanup(self) -> None:
        """Wait for the last checkpoint, then release the networks and their GPU memory."""
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state into a folder of Tune; write nothing for a trial that could not begin."""
        trial = self._running
        if trial is not None:
            Path(checkpoint_dir, _FILE).write_bytes(checkpoint.dump(trial.state()))

    def load_checkpoint(self, checkpoint_dir: str | Mapping[str, Any] | None) -> None:
        """Restore the trial's state from a folder written by ``save_checkpoint``."""
        path = Path(str(checkpoint_dir), _FILE)
        assert self.training is not None  # a trial that could not begin was not saved
        self.training.load_state_dict(checkpoint.parse(path.read_bytes(), origin=str(path)))

    @property
    def training(self) -> Training | None:
        """Training of the running trial; None if the trial has failed or has been closed."""
        trial = self._running
        return trial.training if trial else None

    @property
    def _running(self) -> RunningTrial | None:
        trial = self.trial_run.trial if self.trial_run else None
        return trial if isinstance(trial, RunningTrial) else None

    def _close(self) -> list[str]:
        """End the last trial, and return its notes that no report has contained."""
        run, self.trial_run = self.trial_run, None
        return [f"{note} (said by {run.trial_id})" for note in run.close()] if run else []
