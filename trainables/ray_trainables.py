"""A trial as Ray Tune's trainable. Thin: what a trial does is in ``trainables.trial_run``.

Trials are continued from checkpoints of the project's own instead of through Tune. Tune's are tied to one ``Tuner``, and a
restored Tuner can neither be extended nor trusted with the state of searcher and scheduler. ``save_checkpoint`` and
``load_checkpoint`` are there for whoever uses the class with Tune alone.
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
    """A trial of any method that Tune can start, step, stop and whose process it can use for the next one.

    ``config`` is a flat dict: ``trial_id``, perhaps ``case`` and ``gpus``, and the fields of the config that its ``method``
    names.
    Each ``step`` trains up to the next report and returns it.
    """

    trial_run: TrialRun | None = None
    """None until ``setup`` has returned."""

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
        """Build the trial, or continue it from its newest checkpoint.

        What is wrong with it for good is not raised, or Tune would try it again, but said by the first ``step``.

        Args:
            config: See the class.
            inputs: Teachers and images, through ``tune.with_parameters``.
            storage: Where the sweep's checkpoints, students and curves are. Defaults to keeping none.
            checkpoint_seconds: Wall time between two checkpoints, in seconds; 0: one at each report.
            leaving: Whether this machine is about to be taken away.
            draining: Whether Ray would place the trial elsewhere if it left.
            code: Files of the user's own that the trial may name: on another machine than the driver's they are not there.
            borrow_credentials: Called first: takes over the driver's keys to storage where this process has none.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: what may pass.
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
        """Train up to the next report and return it: ``TrialRun.step``."""
        assert self.trial_run is not None  # setup ran
        return self.trial_run.step()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this process, as a new process would: nothing of the last one remains."""
        unread = self._close()
        self.config = new_config
        self.setup(new_config)
        assert self.trial_run is not None
        self.trial_run.notes[:0] = unread
        return True

    def cleanup(self) -> None:
        """Let go of the networks and their GPU memory, once the last checkpoint is written."""
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state into a folder of Tune's; nothing of one that has failed before it began."""
        trial = self._running
        if trial is not None:
            Path(checkpoint_dir, _FILE).write_bytes(checkpoint.dump(trial.state()))

    def load_checkpoint(self, checkpoint_dir: str | Mapping[str, Any] | None) -> None:
        """Continue from a folder that ``save_checkpoint`` wrote."""
        path = Path(str(checkpoint_dir), _FILE)
        assert self.training is not None  # what could not begin was not saved
        self.training.load_state_dict(checkpoint.parse(path.read_bytes(), origin=str(path)))

    @property
    def training(self) -> Training | None:
        """The networks and what trains them; None where the trial has failed or is over."""
        trial = self._running
        return trial.training if trial else None

    @property
    def _running(self) -> RunningTrial | None:
        trial = self.trial_run.trial if self.trial_run else None
        return trial if isinstance(trial, RunningTrial) else None

    def _close(self) -> list[str]:
        """End the last trial; return what it has not said yet."""
        run, self.trial_run = self.trial_run, None
        return [f"{note} (said by {run.trial_id})" for note in run.close()] if run else []
