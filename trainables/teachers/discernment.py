"""Whether a teacher tells images apart at all, found without any image of a data set."""

from __future__ import annotations

import torch

from trainables.config.datasets import find_normalisation
from trainables.images.splits import normalise
from trainables.networks import frozen_copy
from trainables.seeding import seeded, stream
from trainables.teachers.probe_synthesis import smooth_noise
from trainables.teachers.teacher import Teacher

NOISE_IMAGES = 50
"""Of each kind. Both together are 1 to 2 s of work for a WRN-40-2 on a core."""


def only_class_in_noise(teacher: Teacher) -> int | None:
    """The one class that a teacher sees in every noise image; none where it sees several.

    Half of the images have pixels that are each drawn from 0 to 255 alike, half are smooth, as the noise of probe sets is.
    The first kind alone would say little: a LeNet with 97 % test accuracy on the digits takes 97 of 100 such images for an
    eight, and spreads the smooth ones over all classes.
    """
    shapes, normalisation = teacher.metadata.network_shapes, find_normalisation(teacher.metadata.normalisation)
    channels, size = shapes["channels"], shapes["image_size"]
    random = stream(0, "noise for a teacher")
    pixels = torch.randint(256, (NOISE_IMAGES, channels, *size), generator=random, dtype=torch.uint8)
    images = [
        normalise(pixels, normalisation, torch.float32),
        smooth_noise(NOISE_IMAGES, channels, image_size=size, random=random),
    ]
    network = frozen_copy(teacher.build())
    with torch.no_grad(), seeded(0, "teacher shown noise"):
        classes = torch.cat([network(batch)[0].argmax(1) for batch in images]).unique()
    return int(classes) if len(classes) == 1 else None
