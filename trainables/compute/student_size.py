"""Size and speed of a student, for searches that trade accuracy against them."""

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
"""A batch is timed as often as fits into ``_SECONDS``, 2 to ``_CALLS`` times, after 2 calls that do not count."""

_timed: WeakKeyDictionary[Network, dict[int, float]] = WeakKeyDictionary()
"""Measured seconds by student and number of images; measured once, since a student's weights do not change its speed."""


class HasStudent(Protocol):
    """Part of a training that these functions read."""

    @property
    def config(self) -> TrialConfig: ...

    @property
    def student(self) -> Network: ...


def student_parameters(training: HasStudent) -> int:
    """Count the student's trained parameters, without BatchNorm's running statistics and parameters its builder froze."""
    return sum(weight.numel() for weight in training.student.parameters() if weight.requires_grad)


def student_flops(training: HasStudent) -> float:
    """Return the FLOPs of convolutions and matrix products in the student's forward pass on one image.

    A multiplication and an addition are two FLOPs.
    """
    return float(network_work(training.config.student, **training.config.spec.shapes).flops)


def student_latency(training: HasStudent) -> float | None:
    """Time the student on one image, in seconds; None unless ``student_timed``."""
    return _seconds(training, 1)


def student_latency_128(training: HasStudent) -> float | None:
    """Time the student on a batch of 128 images, in seconds; None unless ``student_timed``."""
    return _seconds(training, 128)


def _seconds(training: HasStudent, images: int) -> float | None:
    """Return the median time of a forward pass on ``images`` images, in eval mode, with BatchNorm folded where possible."""
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
