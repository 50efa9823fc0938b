"""How large and how fast a student is: what a search over architectures weighs accuracy against."""

from __future__ import annotations

import statistics
import time
from typing import Protocol
from weakref import WeakKeyDictionary

import torch

from trainables.compute.work import network_work
from trainables.config import TrialConfig
from trainables.networks import Network, frozen_copy

_CALLS = 20
_SECONDS = 0.5
"""A batch is timed as often as fits into so many seconds, 2 to 20 times, after 2 times that do not count."""

_timed: WeakKeyDictionary[Network, dict[int, float]] = WeakKeyDictionary()
"""What has been found, by student: once for all reports, since its weights do not change its speed."""


class HasStudent(Protocol):
    """What is read of a training."""

    @property
    def config(self) -> TrialConfig: ...

    @property
    def student(self) -> Network: ...


def student_parameters(training: HasStudent) -> int:
    """Count the numbers that the student learns: weights and biases, without BatchNorm's running statistics and what its
    builder froze."""
    return sum(weight.numel() for weight in training.student.parameters() if weight.requires_grad)


def student_flops(training: HasStudent) -> float:
    """Count the operations of convolutions and matrix products for one image, forward.

    A multiplication and an addition are two operations.
    """
    return float(network_work(training.config.student, **training.config.spec.shapes).flops)


def student_latency(training: HasStudent) -> float | None:
    """Time the student on one image, in seconds; None unless ``student_timed``."""
    return _seconds(training, 1)


def student_latency_128(training: HasStudent) -> float | None:
    """Time the student on a batch of 128 images, in seconds; None unless ``student_timed``."""
    return _seconds(training, 128)


def _seconds(training: HasStudent, images: int) -> float | None:
    """Median time of a look at so many images, in eval mode, BatchNorm folded where that is possible."""
    if not training.config.student_timed:
        return None
    found = _timed.setdefault(training.student, {})
    if images not in found:
        found[images] = _median_seconds(training, images)
    return found[images]


def _median_seconds(training: HasStudent, images: int) -> float:
    network = frozen_copy(training.student)
    weight = next(network.parameters())
    batch = torch.zeros(images, *training.config.spec.image_shape, device=weight.device, dtype=weight.dtype)
    times: list[float] = []
    with torch.no_grad():
        while len(times) < 4 or (sum(times[2:]) < _SECONDS and len(times) < _CALLS + 2):
            start = time.perf_counter()
            network(batch)
            if batch.is_cuda:
                torch.cuda.synchronize(batch.device)
            times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
