"""Ray Tune's view of a trial. Thin: what a trial does is in ``distiller.py``.

Checkpoints go to a store of the project's own (``checkpoint.CheckpointStore``), found again by the trial's id, instead
of through Tune. Tune's are tied to one ``Tuner``, and a restored Tuner can neither be extended nor trusted with the
state of searcher and scheduler. So a trial continues in the same way after a lost worker, a lost driver, or when the
sweep is started again next week: ``setup`` looks for its newest checkpoint. ``save_checkpoint`` and
``load_checkpoint`` are there for whoever uses the class with Tune alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from ray.tune import Trainable
from ray.tune.result import DONE

from trainables import checkpoint
from trainables.checkpoint import CheckpointStore
from trainables.config import ZeroShotConfig
from trainables.data import ImageSet
from trainables.devices import claim_device
from trainables.distiller import ZeroShotDistiller
from trainables.teachers import Teacher

NOTES = "notes"
"""Key of a result under which a trial says what the user should know, as a list of sentences."""

_FILE = "trial.safetensors"


@dataclass(frozen=True, kw_only=True)
class TrialInputs:
    """What trials on one data set and teacher share. The training split is not among it."""

    teacher: Teacher
    validation: ImageSet
    test: ImageSet


class ZeroShotTrainable(Trainable):
    """A ``ZeroShotDistiller`` that Tune can start, step, stop and use for the next trial.

    ``config`` is a flat dict: ``trial_id`` and the fields of ``ZeroShotConfig``. Each ``step`` trains up to the next
    report and returns it.
    """

    distiller: ZeroShotDistiller | None = None

    def setup(
        self,
        config: dict[str, Any],
        inputs: TrialInputs | None = None,
        checkpoints: CheckpointStore | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        """Build the trial, or continue it from its newest checkpoint.

        Args:
            config: See the class.
            inputs: Teacher and images, through ``tune.with_parameters``.
            checkpoints: Where the sweep's checkpoints are; none: keep none.
            checkpoint_seconds: Wall time between two checkpoints, in seconds; 0: one at each report.
        """
        if inputs is None:
            raise ValueError("ZeroShotTrainable needs its inputs: tune.with_parameters(ZeroShotTrainable, inputs=...)")
        settings = dict(config)
        self._key = settings.pop("trial_id")
        self._checkpoints = checkpoints
        self._checkpoint_seconds = checkpoint_seconds
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        gpus = resources.get("GPU", 0)
        device = claim_device(cpus=resources.get("CPU", 1), gpus=gpus)
        self._notes: list[str] = []
        if gpus > 0 and device.type == "cpu":
            self._notes.append("a GPU was set aside for this trial, but torch finds none: it runs on the CPU, slowly")
        self.distiller = ZeroShotDistiller(
            ZeroShotConfig.model_validate(settings),
            teacher=inputs.teacher,
            validation=inputs.validation,
            test=inputs.test,
            device=device,
        )
        state = checkpoints.load_newest(self._key, warn=self._notes.append) if checkpoints else None
        if state:
            self.distiller.load_state_dict(state)
        # The driver may have died before it kept the report that came with this checkpoint, so it is made again.
        self._report_again = state is not None
        self._saved_at = time.monotonic()

    def step(self) -> dict[str, Any]:
        """Train up to the next report, saving on the way when it is time, and after the last one."""
        distiller = self._trial
        if self._report_again and distiller.last_report is not None:
            report = distiller.last_report
        else:
            report = distiller.advance(after_each=self._save_if_due)
            if distiller.finished or self._checkpoint_seconds == 0:
                self._save()
        self._report_again = False
        notes, self._notes = self._notes, []
        return {
            **report,
            DONE: distiller.finished,
            "device": distiller.device.type,
            "threads": torch.get_num_threads(),
            NOTES: notes,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in this process, as a new process would: nothing of the last one remains."""
        self.cleanup()
        self.config = new_config
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the networks and their GPU memory."""
        self.distiller = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state into a folder of Tune's."""
        Path(checkpoint_dir, _FILE).write_bytes(checkpoint.dump(self._trial.state_dict()))

    def load_checkpoint(self, checkpoint_dir: str | Mapping[str, Any] | None) -> None:
        """Continue from a folder that ``save_checkpoint`` wrote."""
        path = Path(str(checkpoint_dir), _FILE)
        self._trial.load_state_dict(checkpoint.parse(path.read_bytes(), origin=str(path)))

    @property
    def _trial(self) -> ZeroShotDistiller:
        assert self.distiller is not None  # setup ran, cleanup did not
        return self.distiller

    def _save_if_due(self) -> None:
        if self._checkpoint_seconds and time.monotonic() - self._saved_at >= self._checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        if not self._checkpoints:
            return
        try:
            self._checkpoints.save(self._key, self._trial.pseudo_batches, self._trial.state_dict())
        except (OSError, pa.ArrowException) as error:
            # A checkpoint is a safeguard: without one the trial is still right. The driver ends a sweep that cannot keep
            # its results.
            self._notes.append(f"no checkpoint at {self._trial.pseudo_batches} pseudo batches: {error}")
        self._saved_at = time.monotonic()
