"""What a step of a trial takes on this machine, timed: for ``zskt plan --measure``, and for budgets in seconds.

A few pseudo batches, or updates, are run with untrained networks of the right shapes: what they cost does not depend on
what the networks know. Teachers and data sets are not needed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from trainables.compute.devices import claim_device
from trainables.compute.flops import CURVE_STEPS, unit_work
from trainables.config import AnyTrialConfig
from trainables.config.trial import TimingProbe
from trainables.evaluation import DataFreeScorer, transition_curves
from trainables.profiling.dummies import ConstantPrediction, dummy_probe, dummy_splits, dummy_teacher
from trainables.training.protocol import Training, TrainingInputs, training_class

_TIMED_IMAGES = 256
"""Images on which it is timed what evaluating costs."""

_PROBE_CURVES = 8
"""Images, and so many steps, on which the probe measures what curves cost."""


def flops_per_second(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """Return the operations a second with which this process trains such a trial, from a short probe."""
    unit, _, _ = _probe(config, claim_device(cpus=cpus, gpus=gpus))
    return unit_work(config).flops / unit


def timed_seconds(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """For a whole trial with so much of this machine, from a few steps of it; measuring the student counted in."""
    device = claim_device(cpus=cpus, gpus=gpus)
    unit, report, training = _probe(config, device)
    return config.budget * unit + config.reports * report + _transition_seconds(training, device)


def _probe(config: AnyTrialConfig, device: torch.device) -> tuple[float, float, Training]:
    """Return the seconds of a unit, and of measuring the student once; and the training that was probed."""
    spec = config.spec
    train = max(config.batch_size, spec.num_classes * (config.batch_size // spec.num_classes + 1))
    inputs = TrainingInputs(
        splits=dummy_splits(config, train=train, test=_TIMED_IMAGES),
        teacher=dummy_teacher(config) if config.teacher else None,
    )
    probe = config.timing_probe
    training = training_class(config).build(probe.short, inputs, device)
    timed = _seconds(_timed(training, probe), device)
    if probe.repeats:
        training = training_class(config).build(probe.longer, inputs, device)
        timed += max(0.0, _seconds(_timed(training, probe), device) - timed) * probe.repeats
    unit = config.steps_per_unit * timed
    if probe.whole_units:
        unit = timed * unit_work(config).flops / unit_work(probe.short).flops
    scoring = 0.0
    if config.is_scored and training.teacher is not None:
        scorer = DataFreeScorer(dummy_probe(config), training.teacher)
        scoring = _seconds(partial(scorer.score, training.student), device)
    validation = round(spec.training_images * config.validation_fraction)
    share = (spec.test_images + validation) / _TIMED_IMAGES if config.reads_images else 0.0
    return unit, _seconds(training.report, device) * share + scoring, training


def _timed(training: Training, probe: TimingProbe) -> Callable[[], None]:
    """Return what of a training is timed: a step, or all those of a unit."""

    def unit() -> None:
        for _ in range(training.config.steps_per_unit):
            training.step()

    return unit if probe.whole_units else training.step


def _transition_seconds(training: Training, device: torch.device) -> float:
    """Of the transition curves at a trial's end; 0 where it has none."""
    images = min(training.config.transition_images, training.splits.spec.test_images)
    if not images or training.teacher is None:
        return 0.0
    student, teacher = ConstantPrediction(training.student), ConstantPrediction(training.teacher)
    curves = partial(transition_curves, student, teacher, training.splits.test, training.normalisation)
    seconds = _seconds(partial(curves, images=_PROBE_CURVES, steps=_PROBE_CURVES), device)
    return seconds * images * CURVE_STEPS / _PROBE_CURVES**2


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, after one that warms up; as many as fit into a second, 1 to 9."""
    times: list[float] = []
    while len(times) < 2 or (sum(times[1:]) < 1 and len(times) < 10):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
