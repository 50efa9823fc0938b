"""From a trial's config and what the trials of a sweep share to a training; and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from trainables.config import AnyTrialConfig, SplitsKey, TeacherKey
from trainables.data.splits import DatasetSplits
from trainables.errors import StudentError
from trainables.evaluation import ProbeSet, TransitionCurves, mean_transition_error, transition_curves
from trainables.metrics import Report
from trainables.seeding import seeded
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.teachers.teacher import Teacher
from trainables.training.image_snapshots import ImageSnapshot
from trainables.training.protocol import Training, TrainingInputs, training_class


@dataclass(frozen=True, kw_only=True)
class TrialInputs:
    """What the trials of a sweep share: images and teachers, each under the key that the config gives it."""

    splits: Mapping[SplitsKey, DatasetSplits]
    teachers: Mapping[TeacherKey, Teacher]
    probes: Mapping[TeacherKey, ProbeSet] = field(default_factory=dict)
    """Images made from the teachers of those trials that want data-free scores."""

    def splits_of(self, config: AnyTrialConfig) -> DatasetSplits:
        """The images of a trial: none for one that reads none, whatever others of its sweep have."""
        return self.splits[config.splits_key] if config.reads_images else DatasetSplits.without_images(config.dataset)

    def teacher_of(self, config: AnyTrialConfig) -> Teacher | None:
        """The teacher of a trial, or none."""
        key = config.teacher_key
        return self.teachers[key] if key else None

    def probe_of(self, config: AnyTrialConfig) -> ProbeSet | None:
        """The probe set of a trial's teacher; none where no trial of it wants one."""
        return self.probes.get(config.teacher_key) if config.teacher_key else None


class StudentStore:
    """Students that came out of completed trials, each named ``SWEEP/TRIAL``; the config is in the file's header."""

    def __init__(self, store: ObjectStore) -> None:
        """Args: store: The storage's folder of students."""
        self._store = store

    def save(self, student: str, weights: Mapping[str, Tensor], config: AnyTrialConfig) -> None:
        """Keep a student under its name."""
        plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        header = {"config": config.model_dump_json()}
        self._store.write(_student_key(student), save_tensors(plain, metadata=header))

    def load(self, student: str) -> dict[str, Tensor]:
        """The weights of ``SWEEP/TRIAL``.

        Raises:
            StudentError: there is none, or it is damaged.
        """
        data = self._read(student)
        try:
            return load_tensors(data)
        except SafetensorError as error:
            raise StudentError(f"student {student} is damaged ({error}); run its trial again") from error

    def load_config(self, student: str) -> dict[str, object]:
        """The config of the trial that ``SWEEP/TRIAL`` came from.

        Raises:
            StudentError: there is no such student.
        """
        data = self._read(student)
        length = int.from_bytes(data[:8], "little")
        header: dict[str, object] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["config"])
        return header

    def _read(self, student: str) -> bytes:
        key = _student_key(student)
        if not self._store.exists(key):
            raise StudentError(
                f"there is no student {student} ({self._store.path(key)}): name a completed trial as SWEEP/TRIAL"
            )
        return self._store.read(key)


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
        self.students.save(f"{self.sweep_id}/{trial_id}", training.student.state_dict(), training.config)

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
    config: AnyTrialConfig, inputs: TrialInputs, storage: TrialStorage | None, device: torch.device
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


def _student_key(student: str) -> str:
    return f"{student}.safetensors"
