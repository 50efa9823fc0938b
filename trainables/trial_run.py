"""One trial in this process: from its settings to its last report. Needs no Ray, so that any backend can drive it.

    run = TrialRun.start({"trial_id": "t0001", **settings}, inputs=inputs, storage=storage)
    while not run.step()[DONE]:
        ...
    run.close()

Checkpoints go to a store of the project's own (``checkpoint.CheckpointStore``), found again by the trial's id. So a trial
continues in the same way after a lost worker, a lost driver, or when the sweep is started again next week: ``start`` looks
for its newest checkpoint.

What is wrong with a trial for good is no exception but its result, under ``FAILURE``. What may pass (errors of storage and
devices) is raised, to be tried again from the last checkpoint.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import torch

from trainables.config.plugins import failing_part
from trainables.errors import TrialError
from trainables.trial import RunningTrial, TrialInputs, TrialStorage, begin_trial
from trainables.trial_result import (
    ALLOCATION,
    DONE,
    FAILURE,
    OUT_OF_MEMORY,
    Allocation,
    Place,
)

MAY_PASS = (OSError, pa.ArrowException, torch.AcceleratorError)
"""Errors of storage and devices: tried again from the last checkpoint. All others would come again; but too little memory
may be enough with a larger share of the GPU, of which the driver decides."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial has failed for good."""

    message: str
    """``Kind: message``."""

    out_of_memory: bool = False
    """Whether its share of a GPU has too little memory."""

    @classmethod
    def of(cls, error: BaseException) -> Failure | None:
        """Put an error into words; None of one that may pass, or that is not the trial's.

        What code of the user's own raises would come again, whatever its kind, and is told with the part's name.
        """
        if isinstance(error, torch.OutOfMemoryError):
            return cls(message=f"OutOfMemoryError: {str(error).partition('. ')[0]}", out_of_memory=True)
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, TrialError | torch.AcceleratorError):
            return None if isinstance(error, MAY_PASS) else cls(message=told)
        part = failing_part(error)
        if part:
            return cls(message=f"{part} fails: {told}")
        return None if isinstance(error, (*MAY_PASS, SystemExit)) else cls(message=told)


class TrialRun:
    """What becomes of one trial in this process. ``start`` makes it."""

    def __init__(
        self, trial_id: str, place: Place, trial: RunningTrial | Failure, *, notes: list[str], began_at: float
    ) -> None:
        """Take over a trial that has begun, or that could not begin.

        Args:
            trial_id: Names the trial in its sweep.
            place: Where it runs.
            trial: The trial, or why it has failed for good.
            notes: What the user should know, to be said with the next report; the trial adds to it.
            began_at: By the place's clock, when its share of the machine was taken.
        """
        self.trial_id = trial_id
        self.place = place
        self.trial = trial
        self.notes = notes
        self._began_at = began_at

    @classmethod
    def start(
        cls,
        config: Mapping[str, Any],
        *,
        inputs: TrialInputs,
        storage: TrialStorage | None = None,
        checkpoint_seconds: float = 60.0,
        place: Place | None = None,
    ) -> TrialRun:
        """Build a trial, or continue it from its newest checkpoint.

        What is wrong with it for good is not raised, but said by ``step``.

        Args:
            config: ``trial_id``, perhaps ``case`` and ``gpus``, and the fields of the config that ``method`` names.
            inputs: Teachers and images of its sweep.
            storage: Where the sweep's checkpoints, students and curves are. Defaults to keeping none.
            checkpoint_seconds: Wall time between two checkpoints, in seconds; 0: one at each report.
            place: Where it runs. Defaults to one CPU core of a machine that stays.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: what may pass.
        """
        place = place or Place()
        began_at = place.clock.monotonic()
        notes: list[str] = []
        trial: RunningTrial | Failure
        try:
            trial = begin_trial(config, inputs, storage, checkpoint_seconds, place, notes)
        except (Exception, SystemExit) as error:
            failure = Failure.of(error)
            if failure is None:
                raise
            trial = failure
        return cls(config["trial_id"], place, trial, notes=notes, began_at=began_at)

    def step(self) -> dict[str, Any]:
        """Train up to the next report, saving on the way when it is time, and return it.

        A trial that has failed for good says so under ``FAILURE`` and is done.

        Returns:
            The metrics of the report, what made it, and the keys of ``trainables.trial_result``.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: what may pass.
        """
        if isinstance(self.trial, RunningTrial):
            try:
                return self.trial.report() | self._said_by_all()
            except (Exception, SystemExit) as error:
                found = Failure.of(error)
                if found is None:
                    raise
                failure = found
            if failure.out_of_memory:
                self.close()  # others on this GPU need what it held, and this process may wait for its next trial
            self.trial = failure
        return {FAILURE: self.trial.message, OUT_OF_MEMORY: self.trial.out_of_memory, DONE: True} | self._said_by_all()

    def close(self) -> list[str]:
        """Let go of the networks and their GPU memory, once the last checkpoint is written.

        Returns:
            What the user should know and no report has said.
        """
        trial = self.trial
        if isinstance(trial, RunningTrial):
            self.trial = Failure(message="RuntimeError: this trial was closed")
            try:
                trial.wait_for_checkpoint()
            finally:
                if trial.saver:
                    trial.saver.close()
        del trial
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.notes

    def _said_by_all(self) -> dict[str, Any]:
        place = self.place
        seconds = place.clock.monotonic() - self._began_at
        allocation = Allocation(node_id=place.node_id, cpus=place.cpus, gpus=place.gpus, seconds=seconds)
        return {ALLOCATION: asdict(allocation), "hostname": platform.node(), "pid": os.getpid()}
