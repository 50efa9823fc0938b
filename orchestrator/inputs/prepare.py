"""Makes ready what the trials of a sweep share: images, teachers, and images made from the teachers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import ray
import torch

from cluster.credentials import no_credentials
from cluster.preemption import leaving
from cluster.process_failures import LOST_MACHINE
from orchestrator.config import SweepConfig
from orchestrator.formatting import duration
from orchestrator.inputs.files import load_images, published_teacher
from orchestrator.storage.layout import TEACHERS, training_folder
from trainables.compute.devices import claim_device
from trainables.config import AnyTrialConfig, SplitsKey, SupervisedConfig
from trainables.data.splits import DatasetSplits
from trainables.errors import TeacherError
from trainables.evaluation import ProbeSet
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.storage.object_store import ObjectStore
from trainables.teachers.discernment import NOISE_IMAGES, only_class_in_noise
from trainables.teachers.probe_registry import ProbeRegistry
from trainables.teachers.probe_set import make_probe
from trainables.teachers.registry import TeacherRegistry, recipe_key, teacher_recipe
from trainables.teachers.teacher import Teacher, describe_teacher
from trainables.training.supervised import SupervisedTrainer
from trainables.trial import SECONDS_WHEN_LEAVING, TrialInputs

Say = Callable[[str], None]


def prepare_inputs(
    sweep: SweepConfig, store: ObjectStore, *, say: Say, borrow_credentials: Callable[[], None] = no_credentials
) -> TrialInputs:
    """Load the images and the teachers of a sweep; train each teacher that nobody has trained, and make the probe sets on
    which students are scored without data. A sweep whose trials read no real image reads one to train a teacher only.

    Ray must be connected: training happens where trials will run.

    Args:
        sweep: The sweep.
        store: Its storage.
        say: Prints a line.
        borrow_credentials: See ``cluster.session.RaySession``; called where a teacher is trained.

    Raises:
        DataUnavailableError: a data set is not to be had.
        TeacherError: a teacher is not what the config says.
    """
    # Those that read images last, so that of trials with one teacher these say how it is measured.
    configs = sorted(sweep.configs(), key=lambda config: config.reads_images)
    images = SweepImages(sweep)
    with_teacher = {config.teacher_key: config for config in configs if config.teacher_key is not None}
    teachers = {
        key: _teacher(config, sweep, images, store, say, borrow_credentials) for key, config in with_teacher.items()
    }
    splits = {config.splits_key: images.of(config) for config in configs if config.reads_images}
    learn_from_images = {config.splits_key for config in configs if config.learns_from_images}
    scored = {config.teacher_key for config in configs if config.is_scored}
    return TrialInputs(
        splits={key: s if key in learn_from_images else s.without_training_images() for key, s in splits.items()},
        teachers=teachers,
        probes={key: _probe(teacher, sweep, store, say) for key, teacher in teachers.items() if key in scored},
    )


class SweepImages:
    """The data sets of a sweep, each read when it is first asked for: who needs none has none to have."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep
        self._loaded: dict[SplitsKey, DatasetSplits] = {}

    def of(self, config: AnyTrialConfig) -> DatasetSplits:
        """The images that a config names, fetched if this machine has none.

        Raises:
            DataUnavailableError: they are not to be had.
        """
        if config.splits_key not in self._loaded:
            self._loaded[config.splits_key] = load_images(config, self._sweep.data_root)
        return self._loaded[config.splits_key]


def _teacher(
    config: AnyTrialConfig,
    sweep: SweepConfig,
    images: SweepImages,
    store: ObjectStore,
    say: Say,
    borrow_credentials: Callable[[], None],
) -> Teacher:
    teacher = find_teacher(config, sweep, images, store)
    if teacher is None:
        recipe = sweep.teacher_config(config)
        folder = training_folder(recipe.dataset, recipe.student, recipe_key(recipe), recipe.report_interval)
        progress = store.below(folder)
        teacher = _trained(recipe, sweep, images.of(config), CheckpointStore(progress), say, borrow_credentials)
        TeacherRegistry(store.below(TEACHERS)).add(teacher, recipe)
        for checkpoint in progress.keys(""):
            progress.delete(checkpoint)
    say(f"teacher {teacher.metadata.network} on {teacher.metadata.dataset}: {in_words(teacher)}")
    only_class = only_class_in_noise(teacher)
    if only_class is not None:
        say(
            f"warning: teacher {teacher.metadata.network} ({teacher.metadata.source}) sees class {only_class} in all "
            f"{2 * NOISE_IMAGES} noise images that it was shown (half of independent pixels, half smooth), so students may "
            "learn that class alone from it: check teacher_checkpoint, teacher and "
            f"normalisation={teacher.metadata.normalisation}"
        )
    return teacher


def find_teacher(config: AnyTrialConfig, sweep: SweepConfig, images: SweepImages, store: ObjectStore) -> Teacher | None:
    """The teacher of a trial, from its checkpoint or the storage's registry; none where it is still to be trained.

    Raises:
        DataUnavailableError: the images on which a checkpoint is measured are not to be had.
        TeacherError: it is not what the config says.
    """
    if config.teacher_checkpoint is None:
        return TeacherRegistry(store.below(TEACHERS)).find(sweep.teacher_config(config))
    return published_teacher(
        config.teacher_checkpoint,
        dataset=config.dataset,
        name=str(config.teacher),
        normalisation=config.normalisation or config.dataset,
        splits=images.of(config) if config.reads_images else DatasetSplits.without_images(config.dataset),
    )


def in_words(teacher: Teacher) -> str:
    """How good a teacher is, and where it comes from."""
    metadata = teacher.metadata
    validation = "" if metadata.validation_accuracy is None else f"{metadata.validation_accuracy:.2%} validation, "
    test = "its accuracy unknown" if metadata.test_accuracy is None else f"{metadata.test_accuracy:.2%} test accuracy"
    return f"{validation}{test} ({metadata.source}, sha256 {metadata.sha256[:12]})"


def _probe(teacher: Teacher, sweep: SweepConfig, store: ObjectStore, say: Say) -> ProbeSet:
    """The teacher's probe set, made where trials will run if nobody has made it."""
    registry = ProbeRegistry(store.below(TEACHERS))
    found = registry.find(teacher.metadata)
    if found is None:
        say(f"making images from the teacher {teacher.metadata.network} alone, to score students on ...")
        cpus, gpus = _resources(sweep)
        making = ray.remote(num_cpus=cpus, num_gpus=gpus)(_made_probe)
        found = ray.get(making.remote(teacher, cpus=cpus, gpus=gpus))
        registry.add(found, teacher.metadata)
    return found


def _resources(sweep: SweepConfig) -> tuple[float, float]:
    """CPU cores and GPUs for what is made before any trial runs: the whole of a GPU that trials will share."""
    return sweep.resources.cpu, math.ceil(sweep.gpus_per_trial)


def _made_probe(teacher: Teacher, *, cpus: float, gpus: float) -> ProbeSet:
    return make_probe(teacher, device=claim_device(cpus=cpus, gpus=gpus))


def _trained(
    recipe: SupervisedConfig,
    sweep: SweepConfig,
    splits: DatasetSplits,
    checkpoints: CheckpointStore,
    say: Say,
    borrow_credentials: Callable[[], None],
) -> Teacher:
    name = f"{recipe.student} on {recipe.dataset}"
    say(f"training the teacher, {name}, {recipe.budget} epochs ...")
    cpus, gpus = _resources(sweep)
    # Started again by hand: Ray's own restarts hold only while it keeps the images it was given, and say so in red.
    crashes = 0
    while True:
        training = ray.remote(num_cpus=cpus, num_gpus=gpus)(_TeacherTraining).remote(
            recipe, splits, checkpoints, cpus=cpus, gpus=gpus, borrow_credentials=borrow_credentials
        )
        try:
            return _followed(training, name, recipe, say)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # the task's own error, without Ray's account of where it happened
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            lost = LOST_MACHINE in str(error)  # which says nothing of the training, as with trials
            crashes += not lost
            if crashes > sweep.max_failures:
                raise TeacherError(
                    f"training the teacher, {name}: its process died {crashes} times (out of memory?); the same command "
                    "goes on from its last checkpoint"
                ) from error
            what = "machine was lost" if lost else "process died"
            say(f"teacher {name}: its {what}; another goes on from its last checkpoint")
        finally:
            ray.kill(training)


def _followed(training: Any, name: str, recipe: SupervisedConfig, say: Say) -> Teacher:
    """Tell how the training gets on, to its end."""
    while True:
        report: dict[str, Any] = ray.get(training.advance.remote())
        seconds = report["training_seconds"] * (recipe.budget / max(1, report["epochs"]) - 1)
        left = "" if report["epochs"] >= recipe.budget else f", about {duration(seconds)} left"
        say(f"teacher {name}: epoch {report['epochs']}/{recipe.budget}, loss {report['student_loss']:.4f}{left}")
        if report["epochs"] >= recipe.budget or report["diverged"]:
            teacher: Teacher = ray.get(training.describe.remote())
            return teacher


class _TeacherTraining:
    """A teacher's training in a process of its own. Started again after a loss, it goes on from its last checkpoint: that of
    its last report, or a later one where the loss of the machine was announced.
    """

    def __init__(
        self,
        recipe: SupervisedConfig,
        splits: DatasetSplits,
        checkpoints: CheckpointStore,
        *,
        cpus: float,
        gpus: float,
        leaving: Callable[[], bool] = leaving,
        borrow_credentials: Callable[[], None] = no_credentials,
    ) -> None:
        borrow_credentials()
        self._recipe = recipe
        self._splits = splits
        self._checkpoints = checkpoints
        self._leaving = leaving
        self._saved_at = -math.inf
        device = claim_device(cpus=cpus, gpus=gpus)
        self._trainer = SupervisedTrainer(recipe, splits=splits, device=device)
        state = checkpoints.load_newest(_TEACHER, warn=lambda line: None)  # a damaged one only costs time
        if state:
            self._trainer.load_state_dict(state)

    def advance(self) -> dict[str, Any]:
        """Train up to the next report, and save."""
        trainer, last = self._trainer, self._trainer.last_report
        # A checkpoint taken right before the last report is finished, but that report is still owed.
        if trainer.finished and last is not None and (last["diverged"] or last["epochs"] == trainer.done):
            return last
        report = trainer.advance(after_each=self._save_if_leaving)
        self._save()
        return report

    def _save_if_leaving(self) -> None:
        if self._leaving() and time.monotonic() - self._saved_at >= SECONDS_WHEN_LEAVING:
            self._save()

    def _save(self) -> None:
        self._checkpoints.save(_TEACHER, self._trainer.done, copy_state(self._trainer.state_dict()))
        self._saved_at = time.monotonic()

    def describe(self) -> Teacher:
        """The teacher, once it is trained."""
        recipe = self._recipe
        return describe_teacher(
            self._trainer.student.eval().to(torch.device("cpu")),
            dataset=recipe.dataset,
            name=recipe.student,
            normalisation=recipe.normalisation or recipe.dataset,
            source="trained",
            recipe=teacher_recipe(recipe),
            splits=self._splits,
        )


_TEACHER = "teacher"
