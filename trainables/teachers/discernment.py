"""Check, without any image of a data set, that a teacher distinguishes images at all."""

from __future__ import annotations

import torch

from trainables.config.datasets import find_normalisation
from trainables.images.splits import normalise
from trainables.networks import frozen_copy
from trainables.seeding import seeded, stream
from trainables.teachers.probe_synthesis import smooth_noise
from trainables.teachers.teacher import Teacher

NOISE_IMAGES = 50
"""Number of noise images of each of the two kinds. A WRN-40-2 takes 1 to 2 s for all on a core."""


def only_class_in_noise(teacher: Teacher) -> int | None:
    """Return the class that a teacher predicts for every noise image; None if it predicts several classes.

    In half of the images each pixel is drawn uniformly from 0 to 255; the others are smooth noise, as in probe sets. The
    first kind alone is not sufficient: a LeNet with 97 % test accuracy on the digits takes 97 of 100 such images for an
    eight, but predicts all classes for smooth images.
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
