"""What training and measuring are worth in operations, whatever machine and arithmetic they run on."""

from __future__ import annotations

import math

from trainables.compute.work import Work, generator_work, network_work
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import find_spec
from trainables.evaluation.data_free import PROBE_IMAGES, PROBE_KINDS

CURVE_STEPS = 100
"""Steps of a trial's transition curves: the default of ``transition_curves``."""

_UPDATE = Work(calls=200)
"""Of each optimizer update beside the networks' passes: loss, clipping and optimizer, about."""

_LOOKED_AT_TOGETHER = 2048
"""Images in a forward pass that only measures, on a GPU; on a CPU fewer, where calls weigh little."""


def pseudo_batch_flops(config: ZeroShotConfig) -> int:
    """Operations of convolutions and matrix products in one pseudo batch; a multiplication and an addition are two."""
    return int(pseudo_batch_work(config).flops)


def pseudo_batch_work(config: ZeroShotConfig) -> Work:
    """One pseudo batch.

    Counted as if nothing were done twice: a generator step takes generator, student and teacher forward, both networks'
    gradient with respect to the images, and the generator's own two; a student step takes the student's three passes; and
    generator and teacher look once at the updated images. The extra generator terms are not counted.
    """
    channels = find_spec(config.dataset).channels
    generator = generator_work(latent_dim=config.latent_dim, width=config.generator_width, channels=channels)
    generator, student, teacher = (
        work.of_batch(config.batch_size)
        for work in (generator, _forward(config.student, config), _forward(config.teacher, config))
    )
    looks = config.student_steps if config.latents == "fresh" else 1
    generated = Work() if config.student_batch == "scored" else looks * generator
    return (
        config.generator_steps * (3 * generator + 2 * student + 2 * teacher + _UPDATE)
        + generated
        + looks * teacher
        + config.student_steps * (3 * student + _UPDATE)
    )


def look_flops(config: AnyTrialConfig) -> int:
    """Operations of student and teacher, if any, for one look at a batch: by that, trials of all methods compare."""
    networks = [name for name in (config.student, config.teacher) if name]
    return config.batch_size * int(sum(_forward(name, config).flops for name in networks))


def updates_per_unit(config: AnyTrialConfig) -> int:
    """Updates of the student in a pseudo batch, or in an epoch."""
    if isinstance(config, ZeroShotConfig):
        return config.student_steps
    spec = find_spec(config.dataset)
    few = config.images_per_class and config.images_per_class * spec.num_classes
    images = few or round(spec.training_images * (1 - config.validation_fraction))
    return -(-images // config.batch_size)


def training_steps(config: AnyTrialConfig) -> int:
    """Pseudo batches of a whole trial, or updates of a supervised one."""
    return config.budget if isinstance(config, ZeroShotConfig) else config.budget * updates_per_unit(config)


def unit_work(config: AnyTrialConfig) -> Work:
    """Training for one unit of a trial's budget: a pseudo batch, or an epoch."""
    if isinstance(config, ZeroShotConfig):
        return pseudo_batch_work(config)
    return updates_per_unit(config) * _update_work(config)


def _update_work(config: SupervisedConfig) -> Work:
    """One update of a supervised trial: the student's three passes, and the teacher's one, where there is one."""
    teacher = _forward(config.teacher, config) if config.teacher else Work()
    return (3 * _forward(config.student, config) + teacher).of_batch(config.batch_size) + _UPDATE


def reports(config: AnyTrialConfig) -> int:
    """Reports of a whole trial; at each of them the student is measured."""
    return math.ceil(config.budget / config.report_interval)


def report_work(config: AnyTrialConfig) -> Work:
    """Measuring the student once: on the test split and the validation part, and on the probe images where it is scored."""
    spec = find_spec(config.dataset)
    images = spec.test_images + round(spec.training_images * config.validation_fraction) if config.reads_images else 0
    if isinstance(config, ZeroShotConfig) and config.data_free_scores:
        images += PROBE_IMAGES * len(PROBE_KINDS)
    return _looks(_forward(config.student, config), images)


def curves_work(config: AnyTrialConfig) -> Work:
    """The transition curves at a trial's end: the student's passes there and back, and the teacher's, at each step."""
    spec = find_spec(config.dataset)
    if not config.teacher:
        return Work()
    images = min(config.transition_images, spec.test_images) * (spec.num_classes - 1)
    return CURVE_STEPS * _looks(2 * _forward(config.student, config) + _forward(config.teacher, config), images)


def trial_work(config: AnyTrialConfig) -> Work:
    """A whole trial, measuring counted in."""
    return config.budget * unit_work(config) + reports(config) * report_work(config) + curves_work(config)


def _forward(network: str, config: AnyTrialConfig) -> Work:
    """One image of the config's data set through a network, forward."""
    spec = find_spec(config.dataset)
    return network_work(network, num_classes=spec.num_classes, channels=spec.channels)


def _looks(forward: Work, images: int) -> Work:
    """So many images through a network that takes many at once."""
    batches = math.ceil(images / _LOOKED_AT_TOGETHER)
    return batches * forward.of_batch(images / batches) if images else Work()
