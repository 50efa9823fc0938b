"""What training and measuring are worth in operations, whatever machine and arithmetic they run on."""

from __future__ import annotations

import math

from trainables.compute.work import Work, generator_work, network_work
from trainables.config import AnyTrialConfig
from trainables.config.base import Passes
from trainables.evaluation.data_free import PROBE_IMAGES, PROBE_KINDS

CURVE_STEPS = 100
"""Steps of a trial's transition curves: the default of ``transition_curves``."""

_UPDATE = Work(calls=200)
"""Of each optimizer update beside the networks' passes: loss, clipping and optimizer, about."""

_LOOKED_AT_TOGETHER = 2048
"""Images in a forward pass that only measures, on a GPU; on a CPU fewer, where calls weigh little."""


def step_flops(config: AnyTrialConfig) -> int:
    """Return the operations of convolutions and matrix products in one step; a multiplication and an addition are two."""
    return int(step_work(config).flops)


def step_work(config: AnyTrialConfig) -> Work:
    """Return the work of one step: a pseudo batch, or an update."""
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
    """Return the operations of student and teacher, if any, for one look at a batch, by which all trials compare."""
    networks = [name for name in (config.student, config.teacher) if name]
    return config.batch_size * int(sum(_forward(name, config).flops for name in networks))


def training_steps(config: AnyTrialConfig) -> int:
    """Return the steps of a whole trial: pseudo batches, or updates."""
    return config.budget * config.steps_per_unit


def unit_work(config: AnyTrialConfig) -> Work:
    """Return the work of training for one unit of a trial's budget: a pseudo batch, or an epoch."""
    return config.steps_per_unit * step_work(config)


def report_work(config: AnyTrialConfig) -> Work:
    """Measuring the student once: on the test split and the validation part, and on the probe images where it is scored."""
    spec = config.spec
    images = spec.test_images + round(spec.training_images * config.validation_fraction) if config.reads_images else 0
    if config.is_scored:
        images += PROBE_IMAGES * len(PROBE_KINDS)
    return _looks(_forward(config.student, config), images)


def curves_work(config: AnyTrialConfig) -> Work:
    """The transition curves at a trial's end: the student's passes there and back, and the teacher's, at each step."""
    spec = config.spec
    if not config.teacher:
        return Work()
    images = min(config.transition_images, spec.test_images) * (spec.num_classes - 1)
    return CURVE_STEPS * _looks(2 * _forward(config.student, config) + _forward(config.teacher, config), images)


def trial_work(config: AnyTrialConfig) -> Work:
    """A whole trial, measuring counted in."""
    return config.budget * unit_work(config) + config.reports * report_work(config) + curves_work(config)


def _forward(network: str, config: AnyTrialConfig) -> Work:
    """One image of the config's data set through a network, forward."""
    return network_work(network, **config.spec.shapes)


def _looks(forward: Work, images: int) -> Work:
    """So many images through a network that takes many at once."""
    batches = math.ceil(images / _LOOKED_AT_TOGETHER)
    return batches * forward.of_batch(images / batches) if images else Work()
