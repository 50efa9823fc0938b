"""A trial that has begun: made from its config and what the trials of its sweep share, trained, and kept."""

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
    """What the trials of a sweep share: images and teachers, each under the key that the config gives it."""

    splits: Mapping[SplitsKey, DatasetSplits]
    teachers: Mapping[TeacherKey, Teacher]
    probes: Mapping[TeacherKey, ProbeSet] = field(default_factory=dict)
    """Images made from the teachers of those trials that want data-free scores."""

    def splits_of(self, config: AnyTrialConfig) -> DatasetSplits:
        """The images of a trial: none for one that reads none, whatever others of its sweep have."""
        return self.splits[config.splits_key] if config.reads_images else DatasetSplits.without_images(config.spec)

    def teacher_of(self, config: AnyTrialConfig) -> Teacher | None:
        """The teacher of a trial, or none."""
        key = config.teacher_key
        return self.teachers[key] if key else None

    def probe_of(self, config: AnyTrialConfig) -> ProbeSet | None:
        """The probe set of a trial's teacher; none where no trial of it wants one."""
        return self.probes.get(config.teacher_key) if config.teacher_key else None


@dataclass(frozen=True, kw_only=True)
class TrialStorage:
    """Where the trials of one sweep keep what is not a row."""

    sweep_id: str
    checkpoints: CheckpointStore
    students: StudentStore
    curves: ObjectStore
    snapshots: ObjectStore | None = None
    """Where pictures of the generators go; none: none are taken."""

    def keep_student(self, trial_id: str, training: Training) -> None:
        """Keep what has come out of a trial."""
        name, config = f"{self.sweep_id}/{trial_id}", training.config.model_dump_json()
        self.students.save(name, training.student.state_dict(), config)

    def write_snapshot(self, trial_id: str, snapshot: ImageSnapshot) -> None:
        """Keep a look at a trial's generator; the same one again changes nothing."""
        assert self.snapshots is not None  # whoever took it asked
        self.snapshots.write(f"{trial_id}-{snapshot.pseudo_batches:010d}.parquet", snapshot.to_parquet(trial_id))

    def write_curves(self, trial_id: str, curves: TransitionCurves) -> None:
        """Keep a trial's transition curves, one row for each image and target class."""
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
    """A training at its beginning.

    Raises:
        StudentError: the student to start from is not there.
        ValueError: the config does not fit the data or the networks each other.
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
        raise StudentError(f"initial_student={config.starts_from}: needs the storage that has it")
    return storage.students.load(config.starts_from)


def transition_metrics(training: Training) -> tuple[TransitionCurves, Report]:
    """Transition curves of a training that has a teacher, its student attacked, and the metrics made from them."""
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
"""Between two checkpoints on a machine that is about to be taken away."""


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
            elif self.checkpoint_seconds == 0:
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
        due = seconds and self.place.clock.monotonic() - self.saved_at >= seconds
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
        self.saved_at = self.place.clock.monotonic()

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
        """Keep what has come out of the trial, then the last checkpoint, which says that all of it is kept.

        Raises:
            StorageOutageError, StorageRefusedError: something could not be kept. The trial has then not ended, and goes on
                from the checkpoint before.
        """
        training, storage = self.training, self.storage
        if not report["diverged"]:
            if storage:
                self._must_keep("the student", lambda: storage.keep_student(self.trial_id, training))
            if self.config.transition_images and training.teacher:
                self._measure_transitions(report)
        self.wait_for_checkpoint()  # the one before may be missing
        saver = self.saver
        if saver:
            saver.save(training.done, self.state())
            self._must_keep("the last checkpoint", saver.wait)
            self._keep("its storage tidy", saver.drop_pieces)

    def _measure_transitions(self, report: Report) -> None:
        """Add the metrics of the transition curves to the report, which is what the last checkpoint will hold."""
        storage = self.storage
        try:
            curves, metrics = transition_metrics(self.training)
        except ValueError as error:  # a student that never agrees with its teacher; it is a result all the same
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

    def _must_keep(self, what: str, write: Callable[[], None]) -> None:
        """Keep a thing without which the trial has not ended.

        Raises:
            StorageOutageError, StorageRefusedError: storage does not take it, which ends the session and not the trial.
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
    """Build a trial, or continue it from its newest checkpoint; see ``trainables.trial_run.TrialRun.start``.

    ``notes`` is where the trial says what the user should know.
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
    """Return the notes and leave none."""
    taken = notes.copy()
    notes.clear()
    return taken
