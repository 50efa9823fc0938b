"""Find the normalisation that a teacher's weights expect, by comparing its accuracy with several."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.images.splits import DatasetSplits, ImageSet

PROBE_IMAGES = 1000
"""Maximum number of test images on which normalisations are compared."""

_NOTICEABLE_GAIN = 0.02
"""Gain in accuracy above which another normalisation is taken for the right one."""

_CHANCE = 0.01
"""Significance level for a gain on fewer than ``PROBE_IMAGES`` images: a larger p-value is taken for chance."""


def normalisation_probe(splits: DatasetSplits) -> ImageSet:
    """Return the images on which normalisations are compared: the first ``PROBE_IMAGES`` of the test split."""
    return splits.test.subset(torch.arange(min(PROBE_IMAGES, len(splits.test))))


def noticeably_better(right: Tensor, other: Tensor) -> bool:
    """Return whether a teacher's accuracy with one normalisation is noticeably higher than with another.

    Args:
        right: Whether each image is classified correctly with the one normalisation, bool (images,).
        other: Whether each image is classified correctly with the other normalisation, bool (images,).
    """
    images = len(right)
    gain = (int(right.sum()) - int(other.sum())) / images
    # With few images, a single one is already a noticeable share.
    return gain > _NOTICEABLE_GAIN and (images == PROBE_IMAGES or _chance_of(right, other) < _CHANCE)


def _chance_of(better: Tensor, other: Tensor) -> float:
    """Return the p-value of a one-sided sign test on the images that only one of two normalisations gets right."""
    from scipy.special import bdtrc  # slow to import, and needed only where there are few test images

    gained, differing = int((better & ~other).sum()), int((better ^ other).sum())
    return float(bdtrc(gained - 1, differing, 0.5))
