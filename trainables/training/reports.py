"""Log of a training between two reports, and the part of a report that all methods share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainables.config import AnyTrialConfig
from trainables.config.datasets import Normalisation
from trainables.config.plugins import load
from trainables.config.trial import OTHER_METRICS
from trainables.evaluation import accuracy, measure
from trainables.images.splits import DatasetSplits
from trainables.metrics import METRICS, TEACHER_CHECK_IMAGES, Report
from trainables.networks import Network
from trainables.seeding import seeded
from trainables.system.clock import SYSTEM_CLOCK, Clock


class Measured(Protocol):
    """Part of a training that its log reads."""

    @property
    def config(self) -> AnyTrialConfig: ...

    @property
    def done(self) -> int: ...

    @property
    def student(self) -> Network: ...

    @property
    def teacher(self) -> Network | None: ...

    @property
    def splits(self) -> DatasetSplits: ...

    @property
    def normalisation(self) -> Normalisation: ...


class RunningMeans:
    """Means of scalars since the last ``take``.

    Sums and counts stay on the device, so that no step waits for the device and a CUDA graph includes the additions
    (``trainables.compute.cuda_graphs``).
    """

    def __init__(self, names: tuple[str, ...], *, device: torch.device, dtype: torch.dtype) -> None:
        self._names = names
        self._sums = torch.zeros(len(names), dtype=dtype, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, *values: Tensor) -> None:
        """Add one scalar for each name."""
        self._sums += torch.stack(values)
        self._count += 1

    def take(self) -> dict[str, float]:
        """Return the means by name, 0 if nothing was added, and set sums and count to 0."""
        means = (self._sums / self._count.clamp_min(1)).tolist()
        self._sums.zero_()
        self._count.zero_()
        return dict(zip(self._names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return sums and count."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self._sums.copy_(state["sums"])
        self._count.fill_(state["count"])


class TrainingLog:
    """Log of one training between its reports: times, means, and values by which the training's health is checked."""

    def __init__(self, means: tuple[str, ...], student: Network, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open the log at the beginning of a training.

        Args:
            means: Metrics that reports give as means, in the order of the arguments of ``means.add``.
            student: Student, on whose device sums are kept, and whose running statistics the first report compares with.
            clock: Clock by which training and evaluation are timed.
        """
        parameter = next(student.parameters())
        self._device = parameter.device
        self.means = RunningMeans(means, device=parameter.device, dtype=parameter.dtype)
        self._statistics = _running_statistics(student)
        self._student_in_train_mode = True
        self._teacher_accuracy: float | None = None
        self._clock = clock
        self._test_evaluations = 0
        self._training_seconds = 0.0
        self._evaluation_seconds = 0.0

    @contextmanager
    def training(self, student: Network) -> Iterator[None]:
        """Count the block's time as training, and note whether the student is in train mode at its end."""
        start = self._clock.monotonic()
        yield
        self._student_in_train_mode = all(module.training for module in student.modules())
        self._training_seconds += self._clock.monotonic() - start

    def report(self, training: Measured, *trained: nn.Module, further: Callable[[], Report] = dict) -> Report:
        """Return the student's measurements and the log since the last report; the networks stay unchanged.

        The teacher's accuracy is measured once, at the first report, to check that it is the recorded teacher.

        Args:
            training: Training to which this log belongs.
            trained: Networks whose weights and statistics must be finite.
            further: Function that returns more measurements; its time counts as evaluation.
        """
        start = self._clock.monotonic()
        if self._device.type == "cuda":
            # Wait for the queued training here only: waiting at each batch would leave the device idle.
            torch.cuda.synchronize(self._device)
        measuring = self._clock.monotonic()
        self._training_seconds += measuring - start
        test = training.splits.test
        if len(test):
            self._test_evaluations += 1
        with seeded(training.config.seed, f"report {training.done}", self._device):
            accuracies = measure(training.student, training.splits, training.normalisation)
            if len(test) and training.teacher is not None and self._teacher_accuracy is None:
                first = test.subset(torch.arange(min(TEACHER_CHECK_IMAGES, len(test)), device=self._device))
                self._teacher_accuracy = accuracy(training.teacher, first, training.normalisation)
            measured = further() | _measured(training)
        self._evaluation_seconds += self._clock.monotonic() - measuring
        means = self.means.take()
        before, self._statistics = self._statistics, _running_statistics(training.student)
        return {
            "validation_accuracy": accuracies.validation,
            "test_accuracy": accuracies.test,
            "test_evaluations": self._test_evaluations,
            **means,
            **measured,
            "running_statistics_shift": _relative_change(before, self._statistics),
            "student_in_train_mode": self._student_in_train_mode,
            "measured_teacher_accuracy": self._teacher_accuracy,
            "diverged": not (all(map(math.isfinite, means.values())) and _all_finite(*trained)),
            "training_seconds": self._training_seconds,
            "evaluation_seconds": self._evaluation_seconds,
        }

    def forget_seconds(self) -> None:
        """Set the counted seconds to 0, in a trial that starts from another trial's state."""
        self._training_seconds = self._evaluation_seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later reports depend on."""
        return {
            "means": self.means.state_dict(),
            "statistics": self._statistics,
            "student_in_train_mode": self._student_in_train_mode,
            "teacher_accuracy": self._teacher_accuracy,
            "test_evaluations": self._test_evaluations,
            "training_seconds": self._training_seconds,
            "evaluation_seconds": self._evaluation_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.means.load_state_dict(state["means"])
        self._statistics = state["statistics"].to(self._device)
        self._student_in_train_mode = state["student_in_train_mode"]
        self._teacher_accuracy = state["teacher_accuracy"]
        self._test_evaluations = state["test_evaluations"]
        self._training_seconds = state["training_seconds"]
        self._evaluation_seconds = state["evaluation_seconds"]


def _measured(training: Measured) -> Report:
    """Return the metrics of a training that functions measure: those of ``METRICS`` and the user's own."""
    methods = training.config.method_names()
    functions = {metric.name: metric.measured_by for metric in METRICS if metric.is_reported_by(methods)}
    found = {name: load(function)(training) for name, function in functions.items() if function is not None}
    return found | {name: _own(name, training) for name in training.config.own_metrics}


def _own(name: str, training: Measured) -> float:
    """Return the value of a user's own metric.

    Raises:
        ValueError: the metric's function fails or returns no number.
    """
    try:
        return float(OTHER_METRICS.load(name)(training))
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # may be temporary: the trial is retried
    except Exception as error:  # code from outside this project may raise anything
        raise ValueError(f"metric {OTHER_METRICS.origin(name)} fails: {type(error).__name__}: {error}") from error


def _running_statistics(network: nn.Module) -> Tensor:
    """Return all running means and variances of BatchNorm layers in one vector; empty if there are none."""
    statistics = [buffer.flatten() for name, buffer in network.named_buffers() if "running_" in name]
    return torch.cat(statistics).clone() if statistics else torch.zeros(0)


def _relative_change(before: Tensor, now: Tensor) -> float | None:
    """Return the L2 norm of the change over that of ``before``; None for empty vectors."""
    if len(now) == 0:
        return None
    return float((now - before).norm() / before.norm().clamp_min(1e-12))


def _all_finite(*networks: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for network in networks for value in network.state_dict().values())
