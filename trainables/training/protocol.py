"""Interface of all methods of training, by which trials, tests and scripts run a training.

A training advances from report to report. Its state can be saved after each step (a pseudo batch, a part of one, or an
update), and a training that resumes from that state gives the same numbers, bit for bit on a CPU.
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
    """Inputs of a training beside its config."""

    splits: DatasetSplits
    """Images for evaluation, and for training if the method learns from images."""

    teacher: Teacher | None = None
    """Weights for ``config.teacher``. None if the config names no teacher."""

    probe: ProbeSet | None = None
    """Probe set of the teacher, for data-free scores. None if the student is not scored."""

    initial_weights: Mapping[str, Tensor] | None = None
    """Weights of ``config.student`` to start from. Defaults to fresh ones."""

    clock: Clock = SYSTEM_CLOCK
    """Clock by which training and evaluation are timed."""


class Training(ABC):
    """One trial's networks, optimizers and random streams, and the steps that advance them.

    A method of training is a subclass with an entry in ``trainables.config.methods``.
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
    """Whether torch has compiled the training's losses. Compilation changes numbers by rounding."""
    notes: list[str]
    """Sentences for the user about how the training runs on this machine."""

    @classmethod
    @abstractmethod
    def build(cls, config: Any, inputs: TrainingInputs, device: torch.device) -> Self:
        """Build a training in its initial state.

        Args:
            config: Settings of this method.
            inputs: Images, teacher and weights for the training.
            device: Device of networks and images.

        Raises:
            ValueError: the config does not fit the data, or the networks do not fit each other.
        """

    @property
    @abstractmethod
    def done(self) -> int:
        """Number of the config's ``unit`` (pseudo batches or epochs) that are done."""

    @abstractmethod
    def step(self) -> None:
        """Do the smallest part of the training after which ``state_dict`` may be called.

        A pseudo batch, a part of a pseudo batch, or an optimizer update.
        """

    @abstractmethod
    def report(self) -> Report:
        """Return the student's measurements and the means since the last report; the networks stay unchanged."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on: see ``trainables.storage.checkpoint``."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned, without comparing its config with this training's."""

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the trial has diverged."""
        last = self.last_report
        return (last is not None and bool(last["diverged"])) or self.done >= self.config.budget

    def advance(self, after_each: Callable[[], None] | None = None) -> Report:
        """Train up to the next report and return the report.

        Reports come after the same units of the budget in every run.

        Args:
            after_each: Called after each step, when ``state_dict`` may be called.
        """
        goal = next_report(self)
        while self.done < goal:
            self.step()
            if after_each:
                after_each()
        return self.report()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` of a training with the same config returned.

        Raises:
            CheckpointError: the state belongs to another config. The message names the fields that differ.
        """
        check_same_config(self.config, state)
        self.restore(state)

    def inherit(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a trial with other settings; seconds are counted from 0.

        Raises:
            CheckpointError: the configs differ in a field whose role is ``inherited``. The message names the field.
        """
        inherited = [field for field, role in roles_of(type(self.config)).items() if role.inherited]
        check_same_config(self.config, state, inherited)
        self.restore(state)
        self.log.forget_seconds()

    def image_snapshot(self) -> ImageSnapshot | None:
        """Return a snapshot of the pseudo images that the trial makes now. None if the method makes none."""
        return None


def training_class(config: AnyTrialConfig) -> type[Training]:
    """Return the class that trains by the method of the config."""
    training: type[Training] = find_method(config.method).training_class
    return training


def next_report(training: Training) -> int:
    """Return after how many of the config's ``unit`` the next report is due.

    Counted from the last report, not from ``done``: a checkpoint may have been taken between the last update before a
    report and the report, which is then still due.
    """
    config, last = training.config, training.last_report
    reported = int(last[config.unit] or 0) if last else 0
    return config.next_report(reported)


def check_same_config(config: AnyTrialConfig, state: Mapping[str, Any], fields: Collection[str] | None = None) -> None:
    """Check that a state belongs to the config; fields that the state does not contain are not compared.

    Args:
        config: The trial's settings.
        state: State that ``state_dict`` returned.
        fields: Names of the fields that must be equal. None means all.

    Raises:
        CheckpointError: some fields differ. The message names them.
    """
    ours = config.model_dump(include=None if fields is None else set(fields))
    different = [field for field in ours if state["config"].get(field, ours[field]) != ours[field]]
    if different:
        pairs = (f"{field}={state['config'][field]!r} (here {ours[field]!r})" for field in different)
        raise CheckpointError(f"checkpoint of another config: {', '.join(pairs)}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore an optimizer's moments; its settings are not part of the state, since they follow from the config."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if (
                moment.shape == parameter.shape
            ):  # a checkpoint is contiguous; the parameter may have another memory format
                moments[name] = torch.empty_like(parameter).copy_(moment)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters, in place if the rate is a tensor, which a CUDA graph may read."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
