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
from trainables.compute.flops import CURVE_STEPS, pseudo_batch_flops, reports, training_steps
from trainables.config import AnyTrialConfig, ZeroShotConfig
from trainables.config.datasets import find_spec
from trainables.evaluation import DataFreeScorer, transition_curves
from trainables.profiling.dummies import ConstantPrediction, dummy_probe, dummy_splits, dummy_teacher
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.protocol import Training
from trainables.training.supervised import SupervisedTrainer

_TIMED_IMAGES = 256
"""Images on which it is timed what evaluating costs."""

_PROBE_CURVES = 8
"""Images, and so many steps, on which the probe measures what curves cost."""


def flops_per_second(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """How fast this process trains such a trial, from a short probe; operations as in ``trainables.compute.flops``."""
    assert isinstance(config, ZeroShotConfig)  # budgets are of zero-shot trials
    step, _, _ = _probe(config, claim_device(cpus=cpus, gpus=gpus))
    return pseudo_batch_flops(config) / step


def timed_seconds(config: AnyTrialConfig, *, cpus: float, gpus: float) -> float:
    """For a whole trial with so much of this machine, from a few steps of it; measuring the student counted in."""
    device = claim_device(cpus=cpus, gpus=gpus)
    step, report, training = _probe(config, device)
    return training_steps(config) * step + reports(config) * report + _transition_seconds(training, device)


def _probe(config: AnyTrialConfig, device: torch.device) -> tuple[float, float, Training]:
    """Seconds of a pseudo batch, or of an update, and of measuring the student once; and the training that was probed."""
    spec = find_spec(config.dataset)
    train = max(config.batch_size, spec.num_classes * (config.batch_size // spec.num_classes + 1))
    splits = dummy_splits(config, train=train, test=_TIMED_IMAGES)
    teacher = dummy_teacher(config) if config.teacher else None
    measure: Callable[[], object]
    training: Training
    scoring = 0.0
    if isinstance(config, ZeroShotConfig):
        assert teacher is not None  # its config always names one
        # A whole pseudo batch can take a minute on a CPU, so the student's steps are counted from one and two of them.
        # Compiling would take longer than it saves here; a compiled trial will be a little cheaper than this says.
        one, two = (
            ZeroShotDistiller(
                config.model_copy(update={"student_steps": steps, "compilation": "never", "data_free_scores": False}),
                teacher=teacher,
                splits=splits,
                device=device,
            )
            for steps in (1, 2)
        )
        with_one, with_two = (_seconds(partial(distiller.train, 1), device) for distiller in (one, two))
        step = with_one + max(0.0, with_two - with_one) * (config.student_steps - 1)
        measure, training = two.report, two
        if config.data_free_scores:
            scorer = DataFreeScorer(dummy_probe(config), two.teacher)
            scoring = _seconds(partial(scorer.score, two.student), device)
    else:
        few = config.model_copy(update={"images_per_class": None, "initial_student": None})
        trainer = SupervisedTrainer(few, splits=splits, teacher=teacher, device=device)
        step = _seconds(trainer.update, device)
        measure, training = trainer.report, trainer
    validation = round(spec.training_images * config.validation_fraction)
    share = (spec.test_images + validation) / _TIMED_IMAGES if config.reads_images else 0.0
    return step, _seconds(measure, device) * share + scoring, training


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
