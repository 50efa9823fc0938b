"""What a term of a source's loss is, and what it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainables.config.data_free.config import DataFreeConfig
from trainables.training.data_free.teacher import CountedTeacher


@dataclass(frozen=True, kw_only=True)
class TermSetup:
    """What a term is made with."""

    config: DataFreeConfig
    teacher: CountedTeacher
    adversarial_loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """From logits of student and teacher and perhaps a mask (batch,) of 0 and 1 to the divergence that the source maximises,
    a scalar; images outside the mask count 0."""
    stream: torch.Generator
    """Of the term's own random numbers, on the CPU."""
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the networks make of a source's images in one of its updates."""

    images: Tensor
    """Normalised, as the source made them: (batch, channels, height, width)."""
    seen: Tensor
    """The views of them that the networks saw, of the same shape."""
    teacher_logits: Tensor
    """(batch, classes)."""
    teacher_features: Tensor | None
    """What the teacher's last linear layer was given, (batch, width); None of a teacher without one."""
    teacher_maps: list[Tensor]
    """The teacher's attention maps of them, each (batch, positions); none where no attention is compared."""
    student_logits: Tensor | None
    """(batch, classes); None where no term needs them."""
    wanted: Tensor
    """Class drawn for each image, (batch,)."""


class Term(ABC):
    """One term of a source's loss: a scalar to be made small, before its factor."""

    needs_student: ClassVar[bool] = False
    """Whether the student must look at the images. Such a term is left out in the warm-up."""

    watches_teacher: ClassVar[bool] = False
    """Whether it watches the teacher's BatchNorm layers, which must then not be folded."""

    needs_features: ClassVar[bool] = False
    """Whether it is of the teacher's last features."""

    further_looks: ClassVar[int] = 0
    """How often the teacher looks at each image beside the look that all terms share."""

    def __init__(self, setup: TermSetup) -> None:
        """Make it ready.

        Raises:
            ValueError: it cannot work with this teacher; the message says what it needs.
        """
        self.setup = setup

    @abstractmethod
    def __call__(self, look: Look) -> Tensor:
        """Return the term's value, a scalar with gradients with respect to the images."""

    def updated(self) -> None:  # noqa: B027  # most terms learn nothing
        """Learn along: the source is about to take the step whose gradients are there."""

    def call_ended(self) -> None:  # noqa: B027  # most terms remember nothing
        """Take note of the last look of a call."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that later values depend on."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # as above
        """Continue from ``state_dict()``."""
