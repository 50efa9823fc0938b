"""Makes ready what the trials of a sweep share: the images to measure on, and the teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ray

from orchestrator.config import SweepConfig
from orchestrator.results.keys import TEACHERS
from trainables.config import ZeroShotConfig
from trainables.data import DatasetSplits, load_dataset
from trainables.devices import claim_device
from trainables.object_store import ObjectStore
from trainables.ray_trainables import TrialInputs
from trainables.supervised import train_supervised
from trainables.teachers import (
    Teacher,
    TeacherRegistry,
    describe_teacher,
    load_published_checkpoint,
    teacher_recipe,
)


def prepare_inputs(sweep: SweepConfig, store: ObjectStore, *, say: Callable[[str], None]) -> TrialInputs:
    """Load the data set and the teacher of a sweep; train the teacher if nobody has.

    Ray must be connected: training happens where trials will run.

    Raises:
        DataUnavailableError: the data set is not to be had.
        TeacherError: the teacher is not what the config says.
    """
    config = sweep.trial_config({})
    splits = load_dataset(
        config.dataset,
        data_root=Path(sweep.data_root).expanduser(),
        validation_fraction=config.validation_fraction,
        split_seed=config.split_seed,
    )
    teacher = _published(config, splits) if config.teacher_checkpoint else _trained(config, sweep, splits, store, say)
    metadata = teacher.metadata
    say(
        f"teacher {metadata.network} on {metadata.dataset}: {metadata.validation_accuracy:.2%} validation, "
        f"{metadata.test_accuracy:.2%} test accuracy ({metadata.source}, sha256 {metadata.sha256[:12]})"
    )
    return TrialInputs(teacher=teacher, validation=splits.validation, test=splits.test)


def _published(config: ZeroShotConfig, splits: DatasetSplits) -> Teacher:
    return load_published_checkpoint(
        Path(str(config.teacher_checkpoint)).expanduser(),
        dataset=config.dataset,
        name=config.teacher,
        normalisation=config.normalisation or config.dataset,
        splits=splits,
    )


def _trained(
    config: ZeroShotConfig, sweep: SweepConfig, splits: DatasetSplits, store: ObjectStore, say: Callable[[str], None]
) -> Teacher:
    registry = TeacherRegistry(store.below(TEACHERS))
    normalisation = config.normalisation or config.dataset
    recipe = teacher_recipe(
        sweep.teacher_recipe,
        normalisation=normalisation,
        validation_fraction=config.validation_fraction,
        split_seed=config.split_seed,
    )
    found = registry.find(config.dataset, config.teacher, recipe)
    if found:
        return found
    say(f"training the teacher, {config.teacher} on {config.dataset}, {sweep.teacher_recipe.epochs} epochs ...")
    task = ray.remote(num_cpus=sweep.resources.cpu, num_gpus=sweep.resources.gpu)(_train)
    try:
        teacher: Teacher = ray.get(task.remote(config, sweep, splits, normalisation, recipe))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # the task's own error, without Ray's account of where it happened
    registry.add(teacher)
    return teacher


def _train(
    config: ZeroShotConfig, sweep: SweepConfig, splits: DatasetSplits, normalisation: str, recipe: dict[str, object]
) -> Teacher:
    """Runs in a Ray task."""
    network = train_supervised(
        sweep.teacher_recipe,
        network_name=config.teacher,
        splits=splits,
        normalisation=normalisation,
        device=claim_device(cpus=sweep.resources.cpu, gpus=sweep.resources.gpu),
    )
    return describe_teacher(
        network.cpu(),
        dataset=config.dataset,
        name=config.teacher,
        normalisation=normalisation,
        source="trained",
        recipe=recipe,
        splits=splits,
    )
