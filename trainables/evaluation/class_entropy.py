"""Measures of how evenly a network's predictions spread over the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FREQUENT = 0.01
"""Share of images below which a class is too rare for the ratios of ``class_coverage``."""


def class_balance(counts: Tensor) -> float:
    """Return the entropy of a class histogram (classes,) over its largest possible value, in [0, 1]; 0 for one class."""
    shares = counts / counts.sum().clamp_min(1)
    return float(torch.special.entr(shares).sum()) / math.log(len(counts))


def class_coverage(teacher: Tensor, student: Tensor) -> float:
    """Return the share in [0, 1] to which the student predicts every class that the teacher predicts.

    The smallest ratio, over classes, of the student's count to the teacher's count. Only classes that the teacher predicts
    for at least one image in a hundred are compared. Ratios above 1 count as 1; without images the coverage is 1.

    Args:
        teacher: Number of images for which the teacher predicts each class, (classes,).
        student: Number of images for which the student predicts each class, (classes,).
    """
    frequent = teacher >= max(1.0, _FREQUENT * float(teacher.sum()))
    if not bool(frequent.any()):
        return 1.0
    return min(1.0, float((student[frequent] / teacher[frequent]).min()))
