"""What every training notes between two reports, and the part of a report that all methods have."""

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
    """What the log of a training reads of it."""

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
    """Means of scalars since they were last taken, summed and counted on the device, so that no step waits for it and a
    recording of it does all that it should (``trainables.compute.cuda_graphs``)."""

    def __init__(self, names: tuple[str, ...], *, device: torch.device, dtype: torch.dtype) -> None:
        self._names = names
        self._sums = torch.zeros(len(names), dtype=dtype, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, *values: Tensor) -> None:
        """One scalar for each name."""
        self._sums += torch.stack(values)
        self._count += 1

    def take(self) -> dict[str, float]:
        """The means, 0 where nothing was added; begins anew."""
        means = (self._sums / self._count.clamp_min(1)).tolist()
        self._sums.zero_()
        self._count.zero_()
        return dict(zip(self._names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        return {"sums": self._sums, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._sums.copy_(state["sums"])
        self._count.fill_(state["count"])


class TrainingLog:
    """Log of one training between its reports: times, means and signs of health."""

    def __init__(self, means: tuple[str, ...], student: Network, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open it at a training's beginning.

        Args:
            means: Metrics that reports give as means, in the order in which ``means.add`` takes them.
            student: Decides where the means are summed, and is where its running statistics start from.
            clock: Times training and evaluation.
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
        """Count the block as training, and look at the mode in which it leaves the student."""
        start = self._clock.monotonic()
        yield
        self._student_in_train_mode = all(module.training for module in student.modules())
        self._training_seconds += self._clock.monotonic() - start

    def report(self, training: Measured, *trained: nn.Module, further: Callable[[], Report] = dict) -> Report:
        """Measure the student and take what was noted since the last report. Leaves the networks as they were.

        The teacher is measured once, at the first report, to see that it is the one that was recorded.

        Args:
            training: Whose log this is.
            trained: The networks whose numbers must be finite.
            further: What else is measured, counted as evaluation.
        """
        start = self._clock.monotonic()
        if self._device.type == "cuda":
            # The training that is still queued. Waited for here only: at each batch the device would run dry.
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
        """Count time from here, in a trial that goes on from another one's state."""
        self._training_seconds = self._evaluation_seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All that later reports depend on."""
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
        """Continue from ``state_dict()``."""
        self.means.load_state_dict(state["means"])
        self._statistics = state["statistics"].to(self._device)
        self._student_in_train_mode = state["student_in_train_mode"]
        self._teacher_accuracy = state["teacher_accuracy"]
        self._test_evaluations = state["test_evaluations"]
        self._training_seconds = state["training_seconds"]
        self._evaluation_seconds = state["evaluation_seconds"]


def _measured(training: Measured) -> Report:
    """Return the metrics of a training that are found by a function."""
    methods = training.config.method_names()
    functions = {metric.name: metric.measured_by for metric in METRICS if metric.is_reported_by(methods)}
    found = {name: load(function)(training) for name, function in functions.items() if function is not None}
    return found | {name: _own(name, training) for name in training.config.own_metrics}


def _own(name: str, training: Measured) -> float:
    """Return a metric of the user's own.

    Raises:
        ValueError: it fails, or is no number.
    """
    try:
        return float(OTHER_METRICS.load(name)(training))
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # which may pass: the trial is tried again
    except Exception as error:  # whatever somebody else's code raises
        raise ValueError(f"metric {OTHER_METRICS.origin(name)} fails: {type(error).__name__}: {error}") from error


def _running_statistics(network: nn.Module) -> Tensor:
    """All running means and variances of BatchNorm, in one vector; empty where there are none."""
    statistics = [buffer.flatten() for name, buffer in network.named_buffers() if "running_" in name]
    return torch.cat(statistics).clone() if statistics else torch.zeros(0)


def _relative_change(before: Tensor, now: Tensor) -> float | None:
    """In L2; none of an empty vector."""
    if len(now) == 0:
        return None
    return float((now - before).norm() / before.norm().clamp_min(1e-12))


def _all_finite(*networks: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for network in networks for value in network.state_dict().values())
