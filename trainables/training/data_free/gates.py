"""Gates, which select the handed-over images from which the student learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Input of a gate: images, and the networks' outputs on them."""

    images: Tensor
    """Normalised, (batch, channels, height, width)."""

    teacher_logits: Tensor
    """(batch, classes)."""

    student_logits: Tensor
    """(batch, classes), of the student in eval mode."""

    threshold: float
    """The trial's ``gate_threshold``."""


Gate = Callable[[Judged], Tensor]
"""Function that returns which images pass: (batch,) of bool."""


def confident(judged: Judged) -> Tensor:
    """Return a mask (batch,) of the images whose highest probability under the teacher is at least the threshold."""
    return judged.teacher_logits.softmax(1).amax(1) >= judged.threshold


def disagreeing(judged: Judged) -> Tensor:
    """Return a mask (batch,) of the images for which student and teacher predict different classes."""
    return judged.teacher_logits.argmax(1) != judged.student_logits.argmax(1)
