"""Make probe sets. A probe set depends only on the teacher and on a fixed seed, the same for every teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import find_normalisation
from trainables.evaluation.data_free import PROBE_IMAGES, ProbeKind, ProbeSet
from trainables.networks import Network
from trainables.seeding import seeded, stream
from trainables.teachers.probe_synthesis import confident_images, paths, smooth_noise
from trainables.teachers.teacher import Teacher, TeacherMetadata

RECIPE = 1
"""Version of the recipe below. A change of a number here or in ``probe_synthesis.py`` must raise the version, so that stored
probe sets are made again. Scores of different versions are not comparable, and result rows do not record the version, so the
scores then need new names."""

_NOISE = 0.5
"""Standard deviation of the noise on ``noisy`` images, in normalised pixels."""

_PATHS = 80
_PATH_STEPS = 15
_PATH_EVERY = 3
"""Interval of the steps of a path whose images are kept: 80 paths with 5 images each are 400 images."""


def make_probe(teacher: Teacher, *, device: torch.device | str = "cpu") -> ProbeSet:
    """Make a teacher's probe set, without reading an image of any data set.

    Args:
        teacher: Teacher, whose metadata give normalisation and shapes of the images.
        device: Device for the computation. The images differ between devices by rounding, so they are made once and kept.
    """
    metadata = teacher.metadata
    network = teacher.build().to(device).requires_grad_(False).eval()
    with seeded(0, "teacher probed", device):  # some networks draw random numbers even in eval mode
        return _make(network, metadata)


def _make(network: Network, metadata: TeacherMetadata) -> ProbeSet:
    shapes, normalisation = metadata.network_shapes, find_normalisation(metadata.normalisation)
    classes, channels, size = shapes["num_classes"], shapes["channels"], shapes["image_size"]
    device = next(network.parameters()).device
    random = stream(0, "probe set")
    confident = confident_images(network, normalisation, count=PROBE_IMAGES, **shapes, random=random)
    noise = smooth_noise(PROBE_IMAGES, channels, image_size=size, random=random).to(device)
    others = torch.randint(1, classes, (_PATHS,), generator=random).to(device)
    targets = (torch.arange(_PATHS, device=device) + others) % classes
    images: dict[ProbeKind, Tensor] = {
        "confident": confident,
        "mixed": _blended(confident, random),
        "noisy": confident + _NOISE * torch.randn(confident.shape, generator=random).to(device),
        "noise": noise,
        "path": paths(network, confident[:_PATHS], targets, steps=_PATH_STEPS, every=_PATH_EVERY),
    }
    return ProbeSet(
        images={kind: made.to("cpu", torch.float16) for kind, made in images.items()},
        targets=targets.repeat(_PATH_STEPS // _PATH_EVERY).cpu(),
    )


def _blended(images: Tensor, random: torch.Generator) -> Tensor:
    """Return each image blended with another one, in proportions drawn uniformly from [0, 1)."""
    partners = images[torch.randperm(len(images), generator=random).to(images.device)]
    shares = torch.rand(len(images), 1, 1, 1, generator=random).to(images.device)
    return shares * images + (1 - shares) * partners
