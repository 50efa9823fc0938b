"""Preparation of the inputs that a sweep's trials share: images, teachers, and probe sets made from the teachers."""

from __future__ import annotations

import math

from orchestrator.config import SweepConfig
from orchestrator.inputs.files import load_images, published_teacher
from orchestrator.inputs.tasks import TaskRunner
from orchestrator.inputs.teacher_training import Say, train_teacher
from orchestrator.storage.layout import TEACHERS, training_folder
from trainables.compute.devices import claim_device
from trainables.config import AnyTrialConfig, SplitsKey
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.discernment import NOISE_IMAGES, only_class_in_noise
from trainables.teachers.probe_registry import ProbeRegistry
from trainables.teachers.probe_set import make_probe
from trainables.teachers.registry import TeacherRegistry, recipe_key
from trainables.teachers.teacher import Teacher
from trainables.trial import TrialInputs


def prepare_inputs(
    sweep: SweepConfig, store: ObjectStore, *, tasks: TaskRunner, say: Say, clock: Clock = SYSTEM_CLOCK
) -> TrialInputs:
    """Load the images and teachers of a sweep, train missing teachers, and make missing probe sets.

    Students are scored without data on the probe sets. If the trials read no real images, images are read only to train a
    teacher.

    Args:
        sweep: The sweep.
        store: The sweep's storage.
        tasks: Runs the training and the making of probe sets, where the trials will run.
        say: Prints a line.
        clock: Times the training of a teacher.

    Raises:
        DataUnavailableError: a data set cannot be found or read.
        TeacherError: a teacher is not what the config says.
    """
    # Configs that read images come last, so that they decide how a teacher that several trials share is measured.
    configs = sorted(sweep.configs(), key=lambda config: config.reads_images)
    images = SweepImages(sweep)
    with_teacher = {config.teacher_key: config for config in configs if config.teacher_key is not None}
    teachers = {
        key: _teacher(config, sweep, images, store, tasks, say, clock=clock) for key, config in with_teacher.items()
    }
    splits = {config.splits_key: images.of(config) for config in configs if config.reads_images}
    learn_from_images = {config.splits_key for config in configs if config.learns_from_images}
    scored = {config.teacher_key for config in configs if config.is_scored}
    return TrialInputs(
        splits={key: s if key in learn_from_images else s.without_training_images() for key, s in splits.items()},
        teachers=teachers,
        probes={key: _probe(teacher, sweep, store, tasks, say) for key, teacher in teachers.items() if key in scored},
    )


class SweepImages:
    """The data sets of a sweep, each read on first use, so that a sweep without need of images can run without them."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep = sweep
        self._loaded: dict[SplitsKey, DatasetSplits] = {}

    def of(self, config: AnyTrialConfig) -> DatasetSplits:
        """Return the images that a config names, after fetching them if they are not on this machine.

        Raises:
            DataUnavailableError: the images cannot be found or read.
        """
        if config.splits_key not in self._loaded:
            self._loaded[config.splits_key] = load_images(config, self._sweep.data_root)
        return self._loaded[config.splits_key]


def _teacher(
    config: AnyTrialConfig,
    sweep: SweepConfig,
    images: SweepImages,
    store: ObjectStore,
    tasks: TaskRunner,
    say: Say,
    *,
    clock: Clock,
) -> Teacher:
    teacher = find_teacher(config, sweep, images, store)
    if teacher is None:
        recipe = sweep.teacher_config(config)
        folder = training_folder(recipe.dataset, recipe.student, recipe_key(recipe), recipe.report_interval)
        progress = store.below(folder)
        teacher = train_teacher(
            recipe,
            images.of(config),
            CheckpointStore(progress),
            tasks=tasks,
            say=say,
            max_failures=sweep.max_failures,
            clock=clock,
            **task_resources(sweep),
        )
        TeacherRegistry(store.below(TEACHERS)).add(teacher, recipe)
        for checkpoint in progress.keys(""):
            progress.delete(checkpoint)
    say(f"teacher {teacher.metadata.network} on {teacher.metadata.dataset}: {in_words(teacher)}")
    only_class = only_class_in_noise(teacher)
    if only_class is not None:
        say(
            f"warning: teacher {teacher.metadata.network} ({teacher.metadata.source}) sees class {only_class} in all "
            f"{2 * NOISE_IMAGES} noise images of a test (half with independent pixels, half smooth), so students may learn "
            "only that class: check teacher_checkpoint, teacher and "
            f"normalisation={teacher.metadata.normalisation}"
        )
    return teacher


def find_teacher(config: AnyTrialConfig, sweep: SweepConfig, images: SweepImages, store: ObjectStore) -> Teacher | None:
    """Return the teacher of a trial, from its checkpoint or the storage's registry.

    Returns:
        The teacher; None if it has not been trained yet.

    Raises:
        DataUnavailableError: the images on which a checkpoint is measured cannot be found or read.
        TeacherError: the teacher is not what the config says.
    """
    if config.teacher_checkpoint is None:
        return TeacherRegistry(store.below(TEACHERS)).find(sweep.teacher_config(config))
    return published_teacher(
        config.teacher_checkpoint,
        dataset=config.dataset,
        name=str(config.teacher),
        normalisation=config.normalisation or config.dataset,
        splits=images.of(config) if config.reads_images else DatasetSplits.without_images(config.spec),
    )


def in_words(teacher: Teacher) -> str:
    """Return a description of a teacher: its accuracy, where it comes from, and how its file holds the weights."""
    metadata = teacher.metadata
    validation = "" if metadata.validation_accuracy is None else f"{metadata.validation_accuracy:.2%} validation, "
    test = "its accuracy unknown" if metadata.test_accuracy is None else f"{metadata.test_accuracy:.2%} test accuracy"
    layout = f"; {teacher.layout}" if teacher.layout else ""
    return f"{validation}{test} ({metadata.source}, sha256 {metadata.sha256[:12]}{layout})"


def _probe(teacher: Teacher, sweep: SweepConfig, store: ObjectStore, tasks: TaskRunner, say: Say) -> ProbeSet:
    """Return the teacher's probe set, which is made where the trials will run if the registry has none."""
    registry = ProbeRegistry(store.below(TEACHERS))
    found = registry.find(teacher.metadata)
    if found is None:
        say(f"making images from the teacher {teacher.metadata.network} alone, on which students are scored ...")
        found = tasks.run_task(_made_probe, teacher, **task_resources(sweep))
        registry.add(found, teacher.metadata)
    return found


def task_resources(sweep: SweepConfig) -> dict[str, float]:
    """Return the CPU cores and GPUs of a task that runs before the trials: a whole GPU even if trials share one."""
    return {"cpus": sweep.resources.cpu, "gpus": math.ceil(sweep.gpus_per_trial)}


def _made_probe(teacher: Teacher, *, cpus: float, gpus: float) -> ProbeSet:
    return make_probe(teacher, device=claim_device(cpus=cpus, gpus=gpus))
