"""Training of a data-free trial's student: optimizer, learning rates, and the average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from trainables.compute.acceleration import capturable_adam
from trainables.compute.devices import is_asynchronous
from trainables.config.data_free.config import DataFreeConfig
from trainables.config.data_free.pieces import SCHEDULES
from trainables.networks import Network

Schedule = Callable[[float, int, int], float]
"""Function of an initial rate, a step and the number of steps that returns the step's learning rate."""


def make_optimizer(
    config: DataFreeConfig, weights: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """Return the student's optimizer.

    Args:
        config: The trial's settings.
        weights: Weights of the student that are trained.
        device: Device of the weights.
    """
    decay = config.student_weight_decay
    if config.student_optimizer == "sgd":
        return torch.optim.SGD(
            weights,
            lr=config.student_lr,
            momentum=config.student_momentum,
            nesterov=config.student_nesterov,
            weight_decay=decay,
        )
    if config.numerics == "fast" and is_asynchronous(device) and not decay:
        return capturable_adam(weights, lr=config.student_lr)
    return torch.optim.Adam(weights, lr=config.student_lr, weight_decay=decay)


class Rates:
    """Learning rates of source and student in each pseudo batch, by the schedules that the config names."""

    def __init__(self, config: DataFreeConfig) -> None:
        self._config = config
        self._of_source: Schedule = SCHEDULES.load(config.generator_schedule)
        self._of_student: Schedule = SCHEDULES.load(config.student_schedule)

    def source(self, pseudo_batch: int) -> float:
        """Return the source's learning rate, by its schedule over the learning-rate horizon."""
        return self._of_source(self._config.generator_lr, pseudo_batch, self._config.horizon)

    def student(self, pseudo_batch: int) -> float:
        """Return the student's learning rate, by its schedule over the learning-rate horizon after the warm-up."""
        warmup = self._config.warmup
        return self._of_student(self._config.student_lr, max(0, pseudo_batch - warmup), self._config.horizon - warmup)


class StudentAverage:
    """Exponential moving average of a student's weights and BatchNorm statistics, which starts as a copy of the student."""

    def __init__(self, student: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(student).requires_grad_(False)
        self._student = student
        self._decay = decay

    @torch.no_grad()
    def updated(self) -> None:
        """Move the average one step towards the student, after an update of the student."""
        mine, theirs = self.network.state_dict(), self._student.state_dict()
        for name, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - self._decay)
            else:
                value.copy_(theirs[name])
