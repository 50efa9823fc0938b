"""Work of training and evaluation in operations, independent of machine and precision."""

from __future__ import annotations

import math

from trainables.compute.work import Work, generator_work, network_work
from trainables.config import AnyTrialConfig
from trainables.config.base import Passes
from trainables.evaluation.data_free import PROBE_IMAGES, PROBE_KINDS

CURVE_STEPS = 100
"""Recorded points of a trial's transition curves: the default of ``transition_curves``."""

_UPDATE = Work(calls=200)
"""Approximate work of each optimizer update beside the networks' passes: loss, clipping and optimizer."""

_LOOKED_AT_TOGETHER = 2048
"""Images in a forward pass of an evaluation on a GPU. A CPU has fewer, but there the number of calls hardly matters."""


def step_flops(config: AnyTrialConfig) -> int:
    """Return the FLOPs of convolutions and matrix products in one step; a multiplication and an addition are two FLOPs."""
    return int(step_work(config).flops)


def step_work(config: AnyTrialConfig) -> Work:
    """Return the work of one step: a pseudo batch, or a supervised update."""
    return passes_work(config, config.passes_per_step)


def passes_work(config: AnyTrialConfig, passes: Passes) -> Work:
    """Return the work of passes of a trial's networks over batches of ``batch_size`` images."""
    images = config.batch_size
    work = passes.student * _forward(config.student, config).of_batch(images) + passes.updates * _UPDATE
    if config.teacher and passes.teacher:
        work += passes.teacher * _forward(config.teacher, config).of_batch(images)
    if config.generator_size and passes.generator:
        latent_dim, width = config.generator_size
        spec = config.spec
        generator = generator_work(
            latent_dim=latent_dim, width=width, channels=spec.channels, image_size=spec.image_size
        )
        work += passes.generator * generator.of_batch(images)
    return work


def look_flops(config: AnyTrialConfig) -> int:
    """Return the FLOPs of one forward pass of student and teacher (if any) over a batch of ``batch_size`` images."""
    networks = [name for name in (config.student, config.teacher) if name]
    return config.batch_size * int(sum(_forward(name, config).flops for name in networks))


def training_steps(config: AnyTrialConfig) -> int:
    """Return the number of steps of a whole trial: pseudo batches, or supervised updates."""
    return config.budget * config.steps_per_unit


def unit_work(config: AnyTrialConfig) -> Work:
    """Return the work of training for one unit of a trial's budget: a pseudo batch, or an epoch."""
    return config.steps_per_unit * step_work(config)


def report_work(config: AnyTrialConfig) -> Work:
    """Return the work of measuring the student once: on test split, validation part and, if scored, the probe set."""
    spec = config.spec
    images = spec.test_images + round(spec.training_images * config.validation_fraction) if config.reads_images else 0
    if config.is_scored:
        images += PROBE_IMAGES * len(PROBE_KINDS)
    return _looks(_forward(config.student, config), images)


def curves_work(config: AnyTrialConfig) -> Work:
    """Return the work of the transition curves at a trial's end; none for a trial without a teacher.

    At each step the student's forward and backward pass, and the teacher's forward pass.
    """
    spec = config.spec
    if not config.teacher:
        return Work()
    images = min(config.transition_images, spec.test_images) * (spec.num_classes - 1)
    return CURVE_STEPS * _looks(2 * _forward(config.student, config) + _forward(config.teacher, config), images)


def trial_work(config: AnyTrialConfig) -> Work:
    """Return the work of a whole trial, including evaluation."""
    return config.budget * unit_work(config) + config.reports * report_work(config) + curves_work(config)


def _forward(network: str, config: AnyTrialConfig) -> Work:
    """Return the work of a network's forward pass on one image of the config's data set."""
    return network_work(network, **config.spec.shapes)


def _looks(forward: Work, images: int) -> Work:
    """Return the work of forward passes over ``images`` images in large batches."""
    batches = math.ceil(images / _LOOKED_AT_TOGETHER)
    return batches * forward.of_batch(images / batches) if images else Work()
