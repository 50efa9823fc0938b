"""Which of several normalisations a teacher's weights expect, by what it gets right with each."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.images.splits import DatasetSplits, ImageSet

PROBE_IMAGES = 1000
"""Test images at most on which normalisations are compared."""

_NOTICEABLE_GAIN = 0.02
"""A normalisation that gives this much more accuracy is taken for the right one."""

_CHANCE = 0.01
"""On fewer than ``PROBE_IMAGES`` a gain counts if two equally good normalisations differ by as much less often than this."""


def normalisation_probe(splits: DatasetSplits) -> ImageSet:
    """Return the images on which normalisations are compared: the first of the test split."""
    return splits.test.subset(torch.arange(min(PROBE_IMAGES, len(splits.test))))


def noticeably_better(right: Tensor, other: Tensor) -> bool:
    """Tell whether a normalisation is noticeably better than another one.

    Args:
        right: Which of the probe's images, (images,), are classified correctly with it, as bools.
        other: The same with the other normalisation.
    """
    images = len(right)
    gain = (int(right.sum()) - int(other.sum())) / images
    # Of few images a single one is a noticeable share.
    return gain > _NOTICEABLE_GAIN and (images == PROBE_IMAGES or _chance_of(right, other) < _CHANCE)


def _chance_of(better: Tensor, other: Tensor) -> float:
    """How likely two equally good choices differ by as much: a one-sided sign test on the images that only one gets."""
    from scipy.special import bdtrc  # slow to import, and few teachers are measured on few images

    gained, differing = int((better & ~other).sum()), int((better ^ other).sum())
    return float(bdtrc(gained - 1, differing, 0.5))
