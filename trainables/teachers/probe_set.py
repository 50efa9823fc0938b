"""What a probe set consists of. All of it follows from the teacher's weights and a seed, the same for every teacher."""

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
"""Number of the recipe below. Whoever changes a number here or in ``probe_synthesis.py`` raises it: then probe sets that
were kept are made anew. Scores of before and after do not compare, and rows do not say by which they were found: another
score then needs another name."""

_NOISE = 0.5
"""Standard deviation of the noise on ``noisy`` images, in normalised pixels."""

_PATHS = 80
_PATH_STEPS = 15
_PATH_EVERY = 3
"""80 images at 5 moments of a path of 15 steps are 400 images."""


def make_probe(teacher: Teacher, *, device: torch.device | str = "cpu") -> ProbeSet:
    """Make a teacher's probe set. No image of any data set is read.

    Args:
        teacher: Weights, and the normalisation and shapes that go with them.
        device: Where it is computed. The images differ between devices by rounding, so they are made once and kept.
    """
    metadata = teacher.metadata
    network = teacher.build().to(device).requires_grad_(False).eval()
    with seeded(0, "teacher probed", device):  # a network may draw random numbers in eval mode too
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
    """Each image with another one, in proportions that are drawn evenly."""
    partners = images[torch.randperm(len(images), generator=random).to(images.device)]
    shares = torch.rand(len(images), 1, 1, 1, generator=random).to(images.device)
    return shares * images + (1 - shares) * partners
