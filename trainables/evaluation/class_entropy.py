"""How evenly a network spreads images over the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FREQUENT = 0.01
"""Share of images below which a class is too rare for a ratio."""


def class_balance(counts: Tensor) -> float:
    """Entropy of a class histogram (classes,) over its largest possible value, in [0, 1]: 0 where there is one class."""
    shares = counts / counts.sum().clamp_min(1)
    return float(torch.special.entr(shares).sum()) / math.log(len(counts))


def class_coverage(teacher: Tensor, student: Tensor) -> float:
    """Say how far the student has taken up every class that the teacher sees, in [0, 1].

    It is the smallest ratio of how often the student and the teacher see a class, over the classes that the teacher sees in
    at least one image of a hundred; 1 at most, and without an image.

    Args:
        teacher: Number of images in each class by the teacher, one for each class.
        student: The same by the student.
    """
    frequent = teacher >= max(1.0, _FREQUENT * float(teacher.sum()))
    if not bool(frequent.any()):
        return 1.0
    return min(1.0, float((student[frequent] / teacher[frequent]).min()))
