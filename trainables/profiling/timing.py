"""Timing of a trial's steps on this machine, for ``zskt plan --measure`` and for budgets in seconds.

A few steps are run with untrained networks of the right shapes, since time does not depend on what the networks have learnt.
Teachers and data sets are not needed.
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
"""Images on which evaluation is timed."""

_PROBE_CURVES = 8
"""Number of images, and of steps, with which transition curves are timed."""


def flops_per_second(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """Return the FLOPs per second with which this process trains such a trial, measured in a few steps."""
    unit, _, _ = _probe(config, claim_device(cpus=cpus, gpus=gpus))
    return unit_work(config).flops / unit


def timed_seconds(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """Return the seconds of a whole trial, including evaluation, with this share of the machine, from a few timed steps."""
    device = claim_device(cpus=cpus, gpus=gpus)
    unit, report, training = _probe(config, device)
    return config.budget * unit + config.reports * report + _transition_seconds(training, device)


def _probe(config: AnyTrialConfig, device: torch.device) -> tuple[float, float, Training]:
    """Return the seconds of one unit of the budget, the seconds of measuring the student once, and the timed training."""
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
    """Return the part of a training to time: one step, or all steps of a unit."""

    def unit() -> None:
        for _ in range(training.config.steps_per_unit):
            training.step()

    return unit if probe.whole_units else training.step


def _transition_seconds(training: Training, device: torch.device) -> float:
    """Return the seconds of the transition curves at a trial's end; 0 if the trial has none."""
    images = min(training.config.transition_images, training.splits.spec.test_images)
    if not images or training.teacher is None:
        return 0.0
    student, teacher = ConstantPrediction(training.student), ConstantPrediction(training.teacher)
    curves = partial(transition_curves, student, teacher, training.splits.test, training.normalisation)
    seconds = _seconds(partial(curves, images=_PROBE_CURVES, steps=_PROBE_CURVES), device)
    return seconds * images * CURVE_STEPS / _PROBE_CURVES**2


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of a call: after one warm-up call, as many as fit into a second, 1 to 9."""
    times: list[float] = []
    while len(times) < 2 or (sum(times[1:]) < 1 and len(times) < 10):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
