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
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import torch

from trainables.compute.devices import claim_device, device_name
from trainables.compute.precision import check_precision
from trainables.config import AnyTrialConfig
from trainables.errors import CheckpointError
from trainables.health import findings
from trainables.heartbeat import Heartbeat
from trainables.metrics import Report
from trainables.storage.checkpoint import CheckpointSaver
from trainables.training.image_snapshots import is_due
from trainables.training.protocol import Training
from trainables.trial import TrialInputs, TrialStorage, build_training, transition_metrics
from trainables.trial_result import (
    DEVICE_NAME,
    DONE,
    FAILURE,
    HOLD,
    MACHINE_NOTES,
    NOTES,
    OUT_OF_MEMORY,
    Hold,
    parse_settings,
)

SECONDS_WHEN_LEAVING = 5.0
"""Between two checkpoints on a machine that is about to be taken away."""

_MAY_PASS = (OSError, pa.ArrowException, torch.AcceleratorError)
"""Errors of storage and devices: tried again from the last checkpoint. All others would come again; but too little memory
may be enough with a larger share of the GPU, of which the driver decides."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial's process runs: its share of a machine, and what becomes of that machine."""

    cpus: float = 1.0
    """CPU cores that were set aside."""

    gpus: float = 0.0
    """GPUs that were set aside."""

    node_id: str = ""
    """Ray's id of the node; empty without Ray."""

    leaving: Callable[[], bool] = lambda: False
    """Whether this machine is about to be taken away."""

    draining: Callable[[], bool] = lambda: False
    """Whether the trial would be placed elsewhere if its process ended."""

    leave: Callable[[], None] = lambda: None
    """Ends this process, once the trial is saved and the machine drained."""

    clock: Callable[[], float] = time.monotonic
    """Seconds of a clock that never goes back."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial has failed for good."""

    message: str
    """``Kind: message``."""

    out_of_memory: bool = False
    """Whether its share of a GPU has too little memory."""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Put an error into words."""
        if isinstance(error, torch.OutOfMemoryError):
            return cls(message=f"OutOfMemoryError: {str(error).partition('. ')[0]}", out_of_memory=True)
        return cls(message=f"{type(error).__name__}: {error}")


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
        began_at = place.clock()
        notes: list[str] = []
        trial: RunningTrial | Failure
        try:
            trial = _begin(config, inputs, storage, checkpoint_seconds, place, notes)
        except _MAY_PASS:
            raise
        except Exception as error:
            trial = Failure.of(error)
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
            except _MAY_PASS:
                raise
            except Exception as error:
                failure = Failure.of(error)
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
        seconds = place.clock() - self._began_at
        hold = Hold(node_id=place.node_id, cpus=place.cpus, gpus=place.gpus, seconds=seconds)
        return {HOLD: asdict(hold), "hostname": platform.node(), "pid": os.getpid()}


@dataclass(kw_only=True)
class RunningTrial:
    """A trial that has begun, with all that it needs to go on."""

    trial_id: str
    config: AnyTrialConfig
    inputs: TrialInputs
    storage: TrialStorage | None
    checkpoint_seconds: float
    place: Place
    training: Training
    saver: CheckpointSaver | None
    heartbeat: Heartbeat
    notes: list[str]
    """What the user should know, to be said with the next report."""

    machine_notes: list[str]
    """The same about the machine."""

    continued: bool
    """Whether the next report is the last one of an earlier process, of which nobody knows whether the driver kept it."""

    saved_at: float
    """By the place's clock, when the last checkpoint was begun."""

    warned: set[str] = field(default_factory=set)
    """Findings that the user knows already."""

    def report(self) -> dict[str, Any]:
        """Train up to the next report and return it, with what made it."""
        training = self.training
        if self.continued and training.last_report is not None:
            report = training.last_report
        else:
            try:
                report = training.advance(after_each=self.after_each)
            finally:
                self.heartbeat.stop()
            self._keep_images(report)
            if training.finished:
                self._finish(report)
            if training.finished or self.checkpoint_seconds == 0:
                self.save()
                self.wait_for_checkpoint()
        self.continued = False
        # A checkpoint taken right before the last report is finished, but that report is still owed.
        finished = training.finished and (bool(report["diverged"]) or report[self.config.unit] == training.done)
        self._look_for_trouble(report)
        return {
            **report,
            DONE: finished,
            "device": training.device.type,
            DEVICE_NAME: device_name(training.device),
            "threads": torch.get_num_threads(),
            "compiled": training.compiled,
            NOTES: _taken(self.notes),
            MACHINE_NOTES: _taken(self.machine_notes),
        }

    def after_each(self) -> None:
        """Do what is due between two updates."""
        self.heartbeat.beat()
        self.save_if_due()

    def save_if_due(self) -> None:
        """Begin a checkpoint when it is time for one, and leave a machine that is drained."""
        seconds, leaving = self.checkpoint_seconds, self.place.leaving()
        if leaving:
            seconds = min(seconds or math.inf, SECONDS_WHEN_LEAVING)
        due = seconds and self.place.clock() - self.saved_at >= seconds
        # Where the last one still waits for storage, training goes on and the next one holds a later moment.
        if due and not (self.saver and self.saver.busy):
            self.save()
            if leaving and self.place.draining():
                self._leave()

    def save(self) -> None:
        """Begin to write a checkpoint of this moment."""
        saver = self.saver
        if saver:
            self._keep("a checkpoint", lambda: saver.save(self.training.done, self.state()))
        self.saved_at = self.place.clock()

    def wait_for_checkpoint(self) -> None:
        """Wait until the last checkpoint is written."""
        if self.saver:
            self._keep("a checkpoint", self.saver.wait)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return self.training.state_dict() | {DEVICE_NAME: device_name(self.training.device)}

    def restore(self) -> None:
        """Go on from the trial's newest checkpoint; without one, from the last state of the trial that it takes over from.

        Raises:
            CheckpointError: there is none of that trial, or it does not fit.
        """
        state = self._newest_state(self.trial_id)
        if state is not None:
            self.training.load_state_dict(state)
            self._compare_devices(state)
            # The driver may have died before it kept the report that came with this checkpoint, so it is made again.
            self.continued = True
        elif self.config.takes_over_from:
            self._inherit(self.config.takes_over_from)

    def _newest_state(self, trial_id: str) -> dict[str, Any] | None:
        return self.storage.checkpoints.load_newest(trial_id, warn=self.notes.append) if self.storage else None

    def _inherit(self, trial_id: str) -> None:
        state = self._newest_state(trial_id)
        if state is None:
            raise CheckpointError(
                f"initial_trial={trial_id}: this sweep has no checkpoint of it; only the sweep in which it ran can go on "
                "from there"
            )
        self.training.inherit(state)

    def _compare_devices(self, state: Mapping[str, Any]) -> None:
        """Say where another model of processor goes on than the one that came to the checkpoint; older ones name none."""
        here = device_name(self.training.device)
        before = state.get(DEVICE_NAME, here)
        if before != here and not self.training.finished:
            self.machine_notes.append(
                f"trials begun on {before} go on on {here}, which rounds otherwise: their numbers are not those of an "
                "undisturbed run"
            )

    def _keep_images(self, report: Report) -> None:
        """Keep a few pictures of the generator, once every fifth of the budget."""
        training, storage = self.training, self.storage
        if storage is None or storage.snapshots is None or report["diverged"]:
            return
        if is_due(training.config, training.done) and (snapshot := training.image_snapshot()):
            self._keep("pictures", lambda: storage.write_snapshot(self.trial_id, snapshot))

    def _finish(self, report: Report) -> None:
        """Do what is done once, with the student that has come out; the report is what the checkpoint will hold."""
        training, storage = self.training, self.storage
        if report["diverged"]:
            return
        if storage:
            self._keep("the student", lambda: storage.keep_student(self.trial_id, training))
        if self.config.transition_images and training.teacher:
            self._measure_transitions(report)

    def _measure_transitions(self, report: Report) -> None:
        storage = self.storage
        try:
            curves, metrics = transition_metrics(self.training)
        except ValueError as error:  # a student that never agrees with its teacher; it is a result all the same
            self.notes.append(f"no transition curves: {error}")
            return
        report |= metrics
        if storage:
            self._keep("transition curves", lambda: storage.write_curves(self.trial_id, curves))

    def _look_for_trouble(self, report: Report) -> None:
        teacher = self.inputs.teacher_of(self.config)
        recorded = teacher.metadata.test_accuracy if teacher else None
        signs = findings(self.config, report, recorded_teacher_accuracy=recorded)
        self.notes += [line for name, line in signs.items() if name not in self.warned]
        self.warned |= signs.keys()

    def _leave(self) -> None:
        """End this process once its checkpoint is written: the driver has the trial go on where it is placed then.

        Were it to end the trial instead, Tune would keep the process and give it the next one.
        """
        if self.saver is None:
            return
        try:
            self.saver.wait()
        except (OSError, pa.ArrowException) as error:
            self.notes.append(f"stays on a machine that is taken away, as nothing can be kept: {error}")
        else:
            self.place.leave()

    def _keep(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, pa.ArrowException) as error:
            # Without it the trial is still right. The driver ends a sweep that cannot keep its results.
            self.notes.append(f"could not keep {what} by {self.training.done} {self.config.unit}: {error}")


def _begin(
    settings: Mapping[str, Any],
    inputs: TrialInputs,
    storage: TrialStorage | None,
    checkpoint_seconds: float,
    place: Place,
    notes: list[str],
) -> RunningTrial:
    device = claim_device(cpus=place.cpus, gpus=place.gpus)
    machine_notes: list[str] = []
    if place.gpus > 0 and device.type == "cpu":
        machine_notes.append("a GPU was set aside, but torch finds none: trials run on the CPU, slowly")
    trial_id, config = settings["trial_id"], parse_settings(settings)
    check_precision(config, device)
    trial = RunningTrial(
        trial_id=trial_id,
        config=config,
        inputs=inputs,
        storage=storage,
        checkpoint_seconds=checkpoint_seconds,
        place=place,
        training=build_training(config, inputs, storage, device),
        saver=CheckpointSaver(storage.checkpoints, trial_id) if storage else None,
        heartbeat=Heartbeat(trial_id),
        notes=notes,
        machine_notes=machine_notes,
        continued=False,
        saved_at=place.clock(),
    )
    trial.restore()
    machine_notes += trial.training.notes
    return trial


def _taken(notes: list[str]) -> list[str]:
    """Return the notes and leave none."""
    taken = notes.copy()
    notes.clear()
    return taken
