"""What every kind of training has in common: the interface by which Ray, tests and scripts drive it.

A training is a ``ZeroShotDistiller`` or a ``SupervisedTrainer``. It advances from report to report, can be saved between
any two optimizer updates or pseudo batches, and continues from there bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from trainables.config import AnyTrialConfig
from trainables.config.datasets import Normalisation
from trainables.data.splits import DatasetSplits
from trainables.errors import CheckpointError
from trainables.networks import Network

Report = dict[str, int | float | bool | None]
"""One value for each of ``trainables.metrics.METRICS`` that the method has."""


class Training(Protocol):
    """One trial's networks, optimizers and random streams, and how they advance."""

    device: torch.device
    student: Network
    normalisation: Normalisation
    splits: DatasetSplits
    last_report: Report | None
    compiled: bool
    """Whether torch has compiled it; bits depend on that."""
    notes: list[str]
    """What the user should know about how it runs on this machine, in sentences."""

    @property
    def config(self) -> AnyTrialConfig: ...

    @property
    def teacher(self) -> Network | None: ...

    @property
    def done(self) -> int:
        """How many of the config's ``unit`` are done."""

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the trial has diverged."""

    def advance(self, after_each: Callable[[], None] | None = None) -> Report:
        """Train up to the next report and make it. Reports fall on the same places in every run.

        Args:
            after_each: Called wherever ``state_dict`` may be taken.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: see ``trainables.storage.checkpoint``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of a training with the same config.

        Raises:
            CheckpointError: the state belongs to another config; the message names the fields.
        """


def next_report(training: Training) -> int:
    """Where the next report falls, counted in the config's ``unit``.

    After the last report and not after what is done: a checkpoint may have been taken behind the last update before a
    report, and that report is then still owed.
    """
    config, last = training.config, training.last_report
    reported = int(last[config.unit] or 0) if last else 0
    return min((reported // config.report_interval + 1) * config.report_interval, config.budget)


def is_finished(training: Training) -> bool:
    """Whether the budget is used up or the trial has diverged."""
    last = training.last_report
    return (last is not None and bool(last["diverged"])) or training.done >= training.config.budget


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
