"""What every kind of training has in common: the interface by which Ray, tests and scripts drive it, and its book-keeping.

A training is a ``ZeroShotDistiller`` or a ``SupervisedTrainer``. It advances from report to report, can be saved between
any two optimizer updates or pseudo batches, and continues from there bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.config import AnyTrialConfig
from trainables.data import DatasetSplits, ImageSet
from trainables.datasets import Normalisation
from trainables.errors import CheckpointError
from trainables.evaluation import accuracy, measure
from trainables.networks import Network

Report = dict[str, int | float | bool | None]
"""One value for each of ``trainables.metrics.METRICS`` that the method has."""

TEACHER_CHECK_IMAGES = 1000
"""Test images on which each trial measures its teacher, to see that it is the one that was recorded."""


class Training(Protocol):
    """One trial's networks, optimizers and random streams, and how they advance."""

    device: torch.device
    student: Network
    normalisation: Normalisation
    last_report: Report | None

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
        """Everything that the rest of the training depends on: see ``trainables.checkpoint``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of a training with the same config.

        Raises:
            CheckpointError: the state belongs to another config; the message names the fields.
        """


class RunningMeans:
    """Means of scalars since they were last taken, summed on the device so that no step waits for it."""

    def __init__(self, names: tuple[str, ...], *, device: torch.device, dtype: torch.dtype) -> None:
        self._names = names
        self._sums = torch.zeros(len(names), dtype=dtype, device=device)
        self._count = 0

    def add(self, *values: Tensor) -> None:
        """One scalar for each name."""
        self._sums += torch.stack(values)
        self._count += 1

    def take(self) -> dict[str, float]:
        """The means, 0 where nothing was added; begins anew."""
        means = (self._sums / max(1, self._count)).tolist()
        self._sums, self._count = torch.zeros_like(self._sums), 0
        return dict(zip(self._names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._sums, self._count = state["sums"].to(self._sums.device), state["count"]


def next_report(training: Training) -> int:
    """Where the next report falls, counted in the config's ``unit``.

    After the last report and not after what is done: a checkpoint may have been taken behind the last update before a
    report, and that report is then still owed.
    """
    config, last = training.config, training.last_report
    reported = int(last[config.unit] or 0) if last else 0
    return min((reported // config.report_interval + 1) * config.report_interval, config.budget)


def accuracy_metrics(network: Network, splits: DatasetSplits, normalisation: Normalisation) -> Report:
    """The two accuracies as a report has them."""
    accuracies = measure(network, splits, normalisation)
    return {"validation_accuracy": accuracies.validation, "test_accuracy": accuracies.test}


def teacher_check(teacher: Network, test: ImageSet, normalisation: Normalisation) -> float:
    """The teacher's accuracy, as this trial sees it, on the first test images."""
    return accuracy(teacher, test.subset(torch.arange(min(TEACHER_CHECK_IMAGES, len(test)))), normalisation)


def in_train_mode(network: nn.Module) -> bool:
    """Whether the network and all its parts are."""
    return all(module.training for module in network.modules())


def running_statistics(network: nn.Module) -> Tensor:
    """All running means and variances of BatchNorm, in one vector; empty where there are none."""
    statistics = [buffer.flatten() for name, buffer in network.named_buffers() if "running_" in name]
    return torch.cat(statistics).clone() if statistics else torch.zeros(0)


def shift_since(before: Tensor, now: Tensor) -> float | None:
    """Relative change of running statistics, L2; none where there are none."""
    if len(now) == 0:
        return None
    return float((now - before).norm() / before.norm().clamp_min(1e-12))


def all_finite(*networks: nn.Module) -> bool:
    """Whether every weight and buffer is a finite number."""
    return all(bool(value.isfinite().all()) for network in networks for value in network.state_dict().values())


def check_same_config(config: AnyTrialConfig, state: Mapping[str, Any]) -> None:
    """Raises: CheckpointError: ``state`` belongs to another config; fields that it does not know are let pass."""
    ours = config.model_dump()
    different = [field for field in ours if state["config"].get(field, ours[field]) != ours[field]]
    if different:
        pairs = (f"{field}={state['config'][field]!r} (here {ours[field]!r})" for field in different)
        raise CheckpointError(f"checkpoint of another config: {', '.join(pairs)}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put back an optimizer's moments. Its settings are not part of the state: they follow from the config."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
