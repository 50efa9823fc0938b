"""Interface of the terms of a source's loss, and their inputs."""

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
    """Arguments of a term."""

    config: DataFreeConfig
    teacher: CountedTeacher
    adversarial_loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """Function of the logits of student and teacher and a mask (batch,) of 0 and 1, or None, that returns the divergence
    which the source maximises, a scalar. Images outside the mask contribute 0."""
    stream: torch.Generator
    """Random stream of the term, on the CPU."""
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class Look:
    """Images in one update of the source, with the networks' outputs on them."""

    images: Tensor
    """Normalised images as the source made them, (batch, channels, height, width)."""
    seen: Tensor
    """Views of the images on which the networks ran, of the same shape."""
    teacher_logits: Tensor
    """(batch, classes)."""
    teacher_features: Tensor | None
    """Input of the teacher's last linear layer, (batch, width). None if the teacher has no linear layer."""
    teacher_maps: list[Tensor]
    """The teacher's attention maps, each (batch, positions). Empty if attention transfer is off."""
    student_logits: Tensor | None
    """(batch, classes). None if no term needs the student's logits."""
    wanted: Tensor
    """Class drawn for each image, (batch,)."""


class Term(ABC):
    """One term of a source's loss: a scalar that the source minimises, before its factor."""

    needs_student: ClassVar[bool] = False
    """Whether the term needs the student's logits. Such a term is left out in the warm-up."""

    watches_teacher: ClassVar[bool] = False
    """Whether the term watches the teacher's BatchNorm layers, which must then not be folded."""

    needs_features: ClassVar[bool] = False
    """Whether the term needs ``Look.teacher_features``."""

    further_looks: ClassVar[int] = 0
    """Number of the teacher's forward passes on each image beside the pass that all terms share."""

    def __init__(self, setup: TermSetup) -> None:
        """Build the term.

        Raises:
            ValueError: the term cannot work with this teacher. The message says what the term needs.
        """
        self.setup = setup

    @abstractmethod
    def __call__(self, look: Look) -> Tensor:
        """Return the term's value, a scalar with gradients with respect to the images."""

    def updated(self) -> None:  # noqa: B027  # most terms learn nothing
        """Update the term's own weights, after a backward pass and before the source's step."""

    def call_ended(self) -> None:  # noqa: B027  # most terms keep nothing
        """Keep what later calls need of the last update of this call."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later values depend on."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # as above
        """Restore the state that ``state_dict`` returned."""
