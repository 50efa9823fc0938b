"""What every method of training has in common: the interface by which trials, tests and scripts drive it.

A training advances from report to report, can be saved between
any two optimizer updates or pseudo batches, and continues from there bit for bit on a CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from trainables.config import AnyTrialConfig
from trainables.config.datasets import Normalisation
from trainables.config.methods import find_method
from trainables.config.roles import roles_of
from trainables.errors import CheckpointError
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.networks import Network
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.image_snapshots import ImageSnapshot
from trainables.training.reports import TrainingLog


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """What a training is given beside its config."""

    splits: DatasetSplits
    """Images to be measured on, and to learn from where the method does."""

    teacher: Teacher | None = None
    """Weights for ``config.teacher``; None where it names none."""

    probe: ProbeSet | None = None
    """Images made from the teacher, on which data-free scores are found."""

    initial_weights: Mapping[str, Tensor] | None = None
    """Weights of ``config.student`` to start from. Defaults to fresh ones."""

    clock: Clock = SYSTEM_CLOCK
    """By which training and evaluation are timed."""


class Training(ABC):
    """One trial's networks, optimizers and random streams, and how they advance.

    A method of training is a subclass with a line in ``trainables.config.methods``.
    """

    device: torch.device
    config: AnyTrialConfig
    student: Network
    teacher: Network | None
    normalisation: Normalisation
    splits: DatasetSplits
    log: TrainingLog
    last_report: Report | None
    compiled: bool
    """Whether torch has compiled it; bits depend on that."""
    notes: list[str]
    """What the user should know about how it runs on this machine, in sentences."""

    @classmethod
    @abstractmethod
    def build(cls, config: Any, inputs: TrainingInputs, device: torch.device) -> Self:
        """Build a training at its beginning.

        Args:
            config: Settings of this method.
            inputs: What it is given.
            device: Where everything lives.

        Raises:
            ValueError: the config does not fit the data or the networks each other.
        """

    @property
    @abstractmethod
    def done(self) -> int:
        """How many of the config's ``unit`` are done."""

    @abstractmethod
    def step(self) -> None:
        """Do the smallest part of the training after which ``state_dict`` may be taken: a pseudo batch, or an update."""

    @abstractmethod
    def report(self) -> Report:
        """Measure the student and take the means since the last report. Leaves the networks as they were."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on: see ``trainables.storage.checkpoint``."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned, whatever its config was."""

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the trial has diverged."""
        last = self.last_report
        return (last is not None and bool(last["diverged"])) or self.done >= self.config.budget

    def advance(self, after_each: Callable[[], None] | None = None) -> Report:
        """Train up to the next report and make it. Reports fall on the same places in every run.

        Args:
            after_each: Called wherever ``state_dict`` may be taken.
        """
        goal = next_report(self)
        while self.done < goal:
            self.step()
            if after_each:
                after_each()
        return self.report()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of a training with the same config.

        Raises:
            CheckpointError: the state belongs to another config; the message names the fields.
        """
        check_same_config(self.config, state)
        self.restore(state)

    def inherit(self, state: Mapping[str, Any]) -> None:
        """Go on where a trial with other settings has ended; seconds are counted from here.

        Raises:
            CheckpointError: the two differ in a field whose role says that it is inherited; the message names it.
        """
        inherited = [field for field, role in roles_of(type(self.config)).items() if role.inherited]
        check_same_config(self.config, state, inherited)
        self.restore(state)
        self.log.forget_seconds()

    def image_snapshot(self) -> ImageSnapshot | None:
        """Return what the method's generator shows now; None of a method without one."""
        return None


def training_class(config: AnyTrialConfig) -> type[Training]:
    """Return the training of a config's method."""
    training: type[Training] = find_method(config.method).training_class
    return training


def next_report(training: Training) -> int:
    """Where the next report falls, counted in the config's ``unit``.

    After the last report and not after what is done: a checkpoint may have been taken behind the last update before a
    report, and that report is then still owed.
    """
    config, last = training.config, training.last_report
    reported = int(last[config.unit] or 0) if last else 0
    return config.next_report(reported)


def check_same_config(config: AnyTrialConfig, state: Mapping[str, Any], fields: Collection[str] | None = None) -> None:
    """Refuse a state of another config. Fields that it does not know are let pass.

    Args:
        config: The trial's.
        state: What ``state_dict`` gave.
        fields: Those that must agree; none: all.

    Raises:
        CheckpointError: they do not; the message names them.
    """
    ours = config.model_dump(include=None if fields is None else set(fields))
    different = [field for field in ours if state["config"].get(field, ours[field]) != ours[field]]
    if different:
        pairs = (f"{field}={state['config'][field]!r} (here {ours[field]!r})" for field in different)
        raise CheckpointError(f"checkpoint of another config: {', '.join(pairs)}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put back an optimizer's moments. Its settings are not part of the state: they follow from the config."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape == parameter.shape:  # laid out as the parameter is; a checkpoint has one layout
                moments[name] = torch.empty_like(parameter).copy_(moment)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters; in place where it is a tensor, which a recording may have looked at."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
