"""Run of one trial in this process, from its settings to its last report. Needs no Ray, so that any backend can drive it.

    run = TrialRun.start({"trial_id": "t0001", **settings}, inputs=inputs, storage=storage)
    while not run.step()[DONE]:
        ...
    run.close()

Checkpoints go to a store of this project (``checkpoint.CheckpointStore``), where they are found by the trial's id. A trial
is therefore resumed in the same way after the loss of a worker or driver, and when the sweep is started again a week later:
``start`` loads the newest checkpoint.

A permanent error is not raised but returned as the trial's result, under ``FAILURE``. Transient errors (of storage and
devices) are raised, so that the caller retries from the last checkpoint.
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
"""Transient errors, of storage and devices, after which a trial is retried from the last checkpoint. All other errors are
taken to be permanent; if a trial lacks GPU memory, the driver decides whether to retry it with a larger share of the GPU."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason for which a trial has failed permanently."""

    message: str
    """Message of the form ``Kind: message``."""

    out_of_memory: bool = False
    """Whether the trial's share of a GPU has too little memory."""

    @classmethod
    def of(cls, error: BaseException) -> Failure | None:
        """Return an error as a failure; None for a transient error and for SystemExit from outside the user's code.

        Any error of the user's own code is taken to be permanent, and its message names the part.
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
    """Run of one trial in this process, created by ``start``."""

    def __init__(
        self, trial_id: str, place: Place, trial: RunningTrial | Failure, *, notes: list[str], began_at: float
    ) -> None:
        """Wrap a trial that has begun, or that could not begin.

        Args:
            trial_id: Id of the trial in its sweep.
            place: Place where the trial runs.
            trial: The running trial, or the reason of its permanent failure.
            notes: Notes to the user for the next report; the trial appends to this list.
            began_at: Time by the place's clock at which the trial's share of the machine was reserved.
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
        """Build a trial, or resume it from its newest checkpoint.

        A permanent error is not raised, but returned by ``step``.

        Args:
            config: Dict with ``trial_id``, optionally ``case`` and ``gpus``, and the config fields of the trial's
                ``method``.
            inputs: Teachers and images of the sweep.
            storage: Storage of the sweep's checkpoints, students and curves. Defaults to storing nothing.
            checkpoint_seconds: Wall time between two checkpoints, in seconds. 0 means a checkpoint at each report.
            place: Place where the trial runs. Defaults to one CPU core of a machine that is not preempted.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: a transient error, worth a retry.
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
        """Train up to the next report and return it, saving checkpoints when they are due.

        The result of a trial that has failed permanently has the reason under ``FAILURE``, and is the last one.

        Returns:
            The metrics of the report, device and software settings, and the keys of ``trainables.trial_result``.

        Raises:
            OSError, pyarrow.ArrowException, torch.AcceleratorError: a transient error, worth a retry.
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
                self.close()  # free the GPU memory for other trials, since this process may be idle until its next trial
            self.trial = failure
        return {FAILURE: self.trial.message, OUT_OF_MEMORY: self.trial.out_of_memory, DONE: True} | self._said_by_all()

    def close(self) -> list[str]:
        """Wait for the last checkpoint, then release the networks and their GPU memory.

        Returns:
            Notes to the user that no report has contained.
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
