"""Running trials: built from a config and the shared inputs of the sweep, trained up to each report, and stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from trainables.compute.devices import claim_device, device_name
from trainables.compute.precision import check_precision
from trainables.config import AnyTrialConfig, SplitsKey, TeacherKey
from trainables.errors import CheckpointError, StorageOutageError, StorageRefusedError, StudentError
from trainables.evaluation import ProbeSet, TransitionCurves, mean_transition_error, transition_curves
from trainables.health import findings
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.seeding import seeded
from trainables.storage.checkpoint import CheckpointSaver, CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.storage.students import StudentStore
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.system.heartbeat import Heartbeat
from trainables.teachers.teacher import Teacher
from trainables.training.image_snapshots import ImageSnapshot, is_due
from trainables.training.protocol import Training, TrainingInputs, training_class
from trainables.trial_result import DEVICE_NAME, DONE, MACHINE_NOTES, NOTES, Place, parse_settings


@dataclass(frozen=True, kw_only=True)
class TrialInputs:
    """Shared inputs of a sweep's trials: images, teachers and probe sets, by the keys of the trials' configs."""

    splits: Mapping[SplitsKey, DatasetSplits]
    teachers: Mapping[TeacherKey, Teacher]
    probes: Mapping[TeacherKey, ProbeSet] = field(default_factory=dict)
    """Probe sets of the teachers of trials with ``data_free_scores``."""

    def splits_of(self, config: AnyTrialConfig) -> DatasetSplits:
        """Return the images of a trial; for a trial that must not read images, the placeholder without images."""
        return self.splits[config.splits_key] if config.reads_images else DatasetSplits.without_images(config.spec)

    def teacher_of(self, config: AnyTrialConfig) -> Teacher | None:
        """Return the teacher of a trial; None if it has no teacher."""
        key = config.teacher_key
        return self.teachers[key] if key else None

    def probe_of(self, config: AnyTrialConfig) -> ProbeSet | None:
        """Return the probe set of a trial's teacher; None if no trial with that teacher needs one."""
        return self.probes.get(config.teacher_key) if config.teacher_key else None


@dataclass(frozen=True, kw_only=True)
class TrialStorage:
    """Storage for everything that the trials of a sweep keep besides result rows."""

    sweep_id: str
    checkpoints: CheckpointStore
    students: StudentStore
    curves: ObjectStore
    snapshots: ObjectStore | None = None
    """Object store for pictures of the generators' images. None means that no pictures are taken."""

    def keep_student(self, trial_id: str, training: Training) -> None:
        """Store the trained student of a trial with the trial's config."""
        name, config = f"{self.sweep_id}/{trial_id}", training.config.model_dump_json()
        self.students.save(name, training.student.state_dict(), config)

    def write_snapshot(self, trial_id: str, snapshot: ImageSnapshot) -> None:
        """Store pictures of a trial's generator; storing the same ones again changes nothing."""
        assert self.snapshots is not None  # the caller has checked this before taking the pictures
        self.snapshots.write(f"{trial_id}-{snapshot.pseudo_batches:010d}.parquet", snapshot.to_parquet(trial_id))

    def write_curves(self, trial_id: str, curves: TransitionCurves) -> None:
        """Store a trial's transition curves, one row for each image and target class."""
        table = curves.to_table()
        named = table.add_column(0, pa.field("trial_id", pa.string()), pa.array([trial_id] * len(table)))
        sink = pa.BufferOutputStream()
        pq.write_table(named.replace_schema_metadata(table.schema.metadata), sink, compression="zstd")
        self.curves.write(f"{trial_id}.parquet", sink.getvalue().to_pybytes())


def build_training(
    config: AnyTrialConfig,
    inputs: TrialInputs,
    storage: TrialStorage | None,
    device: torch.device,
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> Training:
    """Build the training of a trial, in its initial state.

    Raises:
        StudentError: the student to start from is missing.
        ValueError: the config does not fit the data, or the networks do not fit each other.
    """
    return training_class(config).build(
        config,
        TrainingInputs(
            splits=inputs.splits_of(config),
            teacher=inputs.teacher_of(config),
            probe=inputs.probe_of(config),
            initial_weights=_initial_weights(config, storage),
            clock=clock,
        ),
        device,
    )


def _initial_weights(config: AnyTrialConfig, storage: TrialStorage | None) -> dict[str, Tensor] | None:
    if config.starts_from is None:
        return None
    if storage is None:
        raise StudentError(f"initial_student={config.starts_from}: needs the storage that has this student")
    return storage.students.load(config.starts_from)


def transition_metrics(training: Training) -> tuple[TransitionCurves, Report]:
    """Compute the transition curves of a training with a teacher, with the student attacked, and their metrics."""
    assert training.teacher is not None
    with seeded(training.config.seed, "transition curves", training.device):
        curves = transition_curves(
            training.student,
            training.teacher,
            training.splits.test,
            training.normalisation,
            images=training.config.transition_images,
        )
    error = mean_transition_error(curves)
    return curves, {
        "mean_transition_error": error.mean,
        "mean_transition_error_low": error.low,
        "mean_transition_error_high": error.high,
    }


SECONDS_WHEN_LEAVING = 5.0
"""Seconds between two checkpoints on a machine that is about to be preempted."""


@dataclass(kw_only=True)
class RunningTrial:
    """Trial that has begun, with everything that its training needs."""

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
    """Notes to the user for the next report."""

    machine_notes: list[str]
    """Notes to the user about the machine, for the next report."""

    continued: bool
    """Whether to repeat the last report of an earlier process next, since the driver may not have stored it."""

    saved_at: float
    """Time by the place's clock at which the last checkpoint was begun."""

    warned: set[str] = field(default_factory=set)
    """Names of the guards whose warnings the user has already received."""

    def report(self) -> dict[str, Any]:
        """Train up to the next report and return it, with notes, device and software settings."""
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
            elif self.checkpoint_seconds == 0:
                self.save()
                self.wait_for_checkpoint()
        self.continued = False
        # A checkpoint taken right before the last report is of a finished training, but the last report is still to come.
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
        """Beat the heartbeat and save a checkpoint if one is due; called between updates."""
        self.heartbeat.beat()
        self.save_if_due()

    def save_if_due(self) -> None:
        """Begin a checkpoint if one is due, and then leave a machine that is draining."""
        seconds, leaving = self.checkpoint_seconds, self.place.leaving()
        if leaving:
            seconds = min(seconds or math.inf, SECONDS_WHEN_LEAVING)
        due = seconds and self.place.clock.monotonic() - self.saved_at >= seconds
        # While the last checkpoint still waits for storage, training goes on, and the next checkpoint is simply later.
        if due and not (self.saver and self.saver.busy):
            self.save()
            if leaving and self.place.draining():
                self._leave()

    def save(self) -> None:
        """Begin to write a checkpoint of the current state, in the background."""
        saver = self.saver
        if saver:
            self._keep("a checkpoint", lambda: saver.save(self.training.done, self.state()))
        self.saved_at = self.place.clock.monotonic()

    def wait_for_checkpoint(self) -> None:
        """Wait until the last checkpoint is written."""
        if self.saver:
            self._keep("a checkpoint", self.saver.wait)

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return self.training.state_dict() | {DEVICE_NAME: device_name(self.training.device)}

    def restore(self) -> None:
        """Restore the trial's newest checkpoint; if there is none, the last state of the trial that it takes over from.

        Raises:
            CheckpointError: the other trial has no checkpoint, or a checkpoint does not fit.
        """
        state = self._newest_state(self.trial_id)
        if state is not None:
            self.training.load_state_dict(state)
            self._compare_devices(state)
            # The driver may have died before it stored the report that came with this checkpoint, so the report is repeated.
            self.continued = True
        elif self.config.takes_over_from:
            self._inherit(self.config.takes_over_from)

    def _newest_state(self, trial_id: str) -> dict[str, Any] | None:
        return self.storage.checkpoints.load_newest(trial_id, warn=self.notes.append) if self.storage else None

    def _inherit(self, trial_id: str) -> None:
        state = self._newest_state(trial_id)
        if state is None:
            raise CheckpointError(
                f"initial_trial={trial_id}: this sweep has no checkpoint of it; a trial can only start from a trial of the "
                "same sweep"
            )
        self.training.inherit(state)

    def _compare_devices(self, state: Mapping[str, Any]) -> None:
        """Add a note if the processor model differs from that of the checkpoint; older checkpoints name no model."""
        here = device_name(self.training.device)
        before = state.get(DEVICE_NAME, here)
        if before != here and not self.training.finished:
            self.machine_notes.append(
                f"trials begun on {before} are resumed on {here}, which rounds differently: their numbers differ from those "
                "of an uninterrupted run"
            )

    def _keep_images(self, report: Report) -> None:
        """Store a few pictures of the generator's images after every fifth of the budget."""
        training, storage = self.training, self.storage
        if storage is None or storage.snapshots is None or report["diverged"]:
            return
        if is_due(training.config, training.done) and (snapshot := training.image_snapshot()):
            self._keep("pictures", lambda: storage.write_snapshot(self.trial_id, snapshot))

    def _finish(self, report: Report) -> None:
        """Store the results of the trial, then the last checkpoint, whose existence shows that all results are stored.

        Raises:
            StorageOutageError, StorageRefusedError: a result could not be stored, so the trial has not ended.
        """
        training, storage = self.training, self.storage
        if not report["diverged"]:
            if storage:
                self._must_keep("the student", lambda: storage.keep_student(self.trial_id, training))
            if self.config.transition_images and training.teacher:
                self._measure_transitions(report)
        self.wait_for_checkpoint()  # the preceding checkpoint may fail: the last one replaces it
        saver = self.saver
        if saver:
            saver.save(training.done, self.state())
            self._must_keep("the last checkpoint", saver.wait)
            self._keep("its storage tidy", saver.drop_pieces)

    def _measure_transitions(self, report: Report) -> None:
        """Add the metrics of the transition curves to the report, which is part of the last checkpoint."""
        storage = self.storage
        try:
            curves, metrics = transition_metrics(self.training)
        except ValueError as error:  # the student never agrees with its teacher, which is a valid result
            self.notes.append(f"no transition curves: {error}")
            return
        report |= metrics
        if storage:
            self._must_keep("transition curves", lambda: storage.write_curves(self.trial_id, curves))

    def _look_for_trouble(self, report: Report) -> None:
        teacher = self.inputs.teacher_of(self.config)
        recorded = teacher.metadata.test_accuracy if teacher else None
        signs = findings(self.config, report, recorded_teacher_accuracy=recorded)
        self.notes += [line for name, line in signs.items() if name not in self.warned]
        self.warned |= signs.keys()

    def _leave(self) -> None:
        """End this process once its checkpoint is written; the driver then resumes the trial on another node.

        If only the trial ended, Tune would reuse the process on this node for the next trial.
        """
        if self.saver is None:
            return
        try:
            self.saver.wait()
        except (OSError, pa.ArrowException) as error:
            self.notes.append(
                f"stays on a machine that is about to be preempted, as no checkpoint can be saved: {error}"
            )
        else:
            self.place.leave()

    def _keep(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, pa.ArrowException) as error:
            # The trial is valid without it. If results cannot be stored, the driver ends the sweep.
            self.notes.append(f"could not keep {what} by {self.training.done} {self.config.unit}: {error}")

    def _must_keep(self, what: str, write: Callable[[], None]) -> None:
        """Store a result without which the trial does not count as ended.

        Raises:
            StorageOutageError, StorageRefusedError: storage does not accept it, which ends the session but not the trial.
        """
        try:
            write()
        except StorageOutageError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise StorageRefusedError(f"could not keep {what} of {self.trial_id}: {error}") from error


def begin_trial(
    settings: Mapping[str, Any],
    inputs: TrialInputs,
    storage: TrialStorage | None,
    checkpoint_seconds: float,
    place: Place,
    notes: list[str],
) -> RunningTrial:
    """Build a trial, or resume it from its newest checkpoint; see ``trainables.trial_run.TrialRun.start``.

    The trial appends its notes to the user to ``notes``.
    """
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
        training=build_training(config, inputs, storage, device, clock=place.clock),
        saver=CheckpointSaver(storage.checkpoints, trial_id) if storage else None,
        heartbeat=Heartbeat(trial_id, clock=place.clock),
        notes=notes,
        machine_notes=machine_notes,
        continued=False,
        saved_at=place.clock.monotonic(),
    )
    trial.restore()
    machine_notes += trial.training.notes
    return trial


def _taken(notes: list[str]) -> list[str]:
    """Return the notes and empty the list."""
    taken = notes.copy()
    notes.clear()
    return taken
