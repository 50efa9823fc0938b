"""Training of a sweep's missing teacher, with lines on its progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from cluster.preemption import leaving
from orchestrator.errors import naming_files
from orchestrator.formatting import duration
from orchestrator.inputs.tasks import TaskLostError, TaskRunner
from trainables.compute.devices import claim_device
from trainables.config import SupervisedConfig
from trainables.errors import TeacherError
from trainables.images.splits import DatasetSplits
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.registry import teacher_recipe
from trainables.teachers.teacher import Teacher, describe_teacher
from trainables.training.supervised import SupervisedTrainer
from trainables.trial import SECONDS_WHEN_LEAVING

Say = Callable[[str], None]

_TEACHER = "teacher"
"""Name under which a training's checkpoints are saved."""


def train_teacher(
    recipe: SupervisedConfig,
    splits: DatasetSplits,
    checkpoints: CheckpointStore,
    *,
    tasks: TaskRunner,
    say: Say,
    cpus: float,
    gpus: float,
    max_failures: int,
    clock: Clock = SYSTEM_CLOCK,
) -> Teacher:
    """Train a teacher, or resume its training.

    Args:
        recipe: Config of the training.
        splits: Images to train and measure on.
        checkpoints: Store of the training's checkpoints.
        tasks: Runs the training.
        say: Prints a line.
        cpus: CPU cores for the training.
        gpus: GPUs for the training.
        max_failures: How often the training resumes after its process died.
        clock: Times the training.

    Raises:
        TeacherError: the training's process died more often.
    """
    name = f"{recipe.student} on {recipe.dataset}"

    def on_report(report: Mapping[str, Any]) -> bool:
        seconds = report["training_seconds"] * (recipe.budget / max(1, report["epochs"]) - 1)
        left = "" if report["epochs"] >= recipe.budget else f", about {duration(seconds)} left"
        say(f"teacher {name}: epoch {report['epochs']}/{recipe.budget}, loss {report['student_loss']:.4f}{left}")
        return bool(report["epochs"] >= recipe.budget or report["diverged"])

    def on_loss(machine_lost: bool) -> None:
        what = "machine was lost" if machine_lost else "process died"
        say(f"teacher {name}: its {what}; another process resumes from its last checkpoint")

    say(f"training the teacher, {name}, {recipe.budget} epochs ...")
    start = partial(TeacherTraining, recipe, splits, checkpoints, cpus=cpus, gpus=gpus, clock=clock)
    try:
        return tasks.follow(
            start, on_report=on_report, on_loss=on_loss, cpus=cpus, gpus=gpus, max_failures=max_failures
        )
    except TaskLostError as error:
        raise TeacherError(
            f"training the teacher, {name}: its process died {error.losses} times (out of memory?); the same command "
            "resumes from its last checkpoint"
        ) from error


class TeacherTraining:
    """The training of a teacher, a ``LongTask``.

    After a loss of its process, the training resumes from its last checkpoint: that of its last report, or a later one if
    the loss of the machine (preemption) was announced.
    """

    @naming_files()
    def __init__(
        self,
        recipe: SupervisedConfig,
        splits: DatasetSplits,
        checkpoints: CheckpointStore,
        *,
        cpus: float,
        gpus: float,
        leaving: Callable[[], bool] = leaving,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._recipe = recipe
        self._splits = splits
        self._checkpoints = checkpoints
        self._leaving = leaving
        self._clock = clock
        self._saved_at = -math.inf
        device = claim_device(cpus=cpus, gpus=gpus)
        self._trainer = SupervisedTrainer(recipe, splits=splits, device=device, clock=clock)
        state = checkpoints.load_newest(_TEACHER, warn=lambda line: None)  # a damaged checkpoint only costs time
        if state:
            self._trainer.load_state_dict(state)

    @naming_files()
    def advance(self) -> dict[str, Any]:
        """Train up to the next report, save a checkpoint, and return the report."""
        trainer, last = self._trainer, self._trainer.last_report
        # A training restored from a checkpoint right before its last report is finished, but has not made that report.
        if trainer.finished and last is not None and (last["diverged"] or last["epochs"] == trainer.done):
            return last
        report = trainer.advance(after_each=self._save_if_leaving)
        self._save()
        return report

    def _save_if_leaving(self) -> None:
        if self._leaving() and self._clock.monotonic() - self._saved_at >= SECONDS_WHEN_LEAVING:
            self._save()

    def _save(self) -> None:
        self._checkpoints.save(_TEACHER, self._trainer.done, copy_state(self._trainer.state_dict()))
        self._saved_at = self._clock.monotonic()

    @naming_files()
    def describe(self) -> Teacher:
        """Return the trained teacher."""
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
