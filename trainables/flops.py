"""What a pseudo batch is worth in floating-point operations, whatever machine and arithmetic it runs on."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.config import AnyTrialConfig, ZeroShotConfig
from trainables.datasets import IMAGE_SIZE, find_spec
from trainables.generator import Generator
from trainables.networks import build_network


def pseudo_batch_flops(config: ZeroShotConfig) -> int:
    """Operations of convolutions and matrix products in one pseudo batch; a multiplication and an addition are two.

    Counted as if nothing were done twice: a generator step takes generator, student and teacher forward, both networks'
    gradient with respect to the images, and the generator's own two; a student step takes the student's three passes; and
    generator and teacher look once at the updated images. The extra generator terms are not counted, nor are element-wise
    operations, which take time but hardly any work.
    """
    spec = find_spec(config.dataset)
    generator = config.batch_size * _generator_forward(config.latent_dim, config.generator_width, spec.channels)
    student, teacher = (
        config.batch_size * _network_forward(name, spec.num_classes, spec.channels)
        for name in (config.student, config.teacher)
    )
    looks = config.student_steps if config.latents == "fresh" else 1
    generated = 0 if config.student_batch == "scored" else looks * generator
    return (
        config.generator_steps * (3 * generator + 2 * student + 2 * teacher)
        + generated
        + looks * teacher
        + config.student_steps * 3 * student
    )


def look_flops(config: AnyTrialConfig) -> int:
    """Operations of student and teacher, if any, for one look at a batch: by that, trials of all methods compare."""
    spec = find_spec(config.dataset)
    networks = [name for name in (config.student, config.teacher) if name]
    return config.batch_size * sum(_network_forward(name, spec.num_classes, spec.channels) for name in networks)


@cache
def _network_forward(name: str, num_classes: int, channels: int) -> int:
    with torch.device("meta"):
        network = build_network(name, num_classes=num_classes, channels=channels)
        return _count(network, torch.empty(1, channels, IMAGE_SIZE, IMAGE_SIZE))


@cache
def _generator_forward(latent_dim: int, width: int, channels: int) -> int:
    with torch.device("meta"):
        network = Generator(latent_dim=latent_dim, width=width, channels=channels)
        return _count(network, torch.empty(1, latent_dim))


def _count(network: nn.Module, example: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(example)
    return int(counter.get_total_flops())
