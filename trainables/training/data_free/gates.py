"""Gates: which of the images that a source hands over the student learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a gate may go by."""

    images: Tensor
    """Normalised, (batch, channels, height, width)."""

    teacher_logits: Tensor
    """(batch, classes)."""

    student_logits: Tensor
    """(batch, classes), of the student in eval mode."""

    threshold: float
    """The trial's ``gate_threshold``."""


Gate = Callable[[Judged], Tensor]
"""Returns (batch,) of bool: the images that pass."""


def confident(judged: Judged) -> Tensor:
    """Return the images whose highest class has, for the teacher, at least the threshold's probability."""
    return judged.teacher_logits.softmax(1).amax(1) >= judged.threshold


def disagreeing(judged: Judged) -> Tensor:
    """Return the images for which student and teacher have different highest classes."""
    return judged.teacher_logits.argmax(1) != judged.student_logits.argmax(1)
