"""Matching of a student to its teacher on given images (section 2.2): the teacher's targets and the student's loss.

Both are computed in the precision of one trial, and compiled if the trial's config asks for compilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.compute.acceleration import compile_error, compiled, forget_compiled
from trainables.config import ZeroShotConfig
from trainables.networks import Network
from trainables.training.losses import Divergence, attention_map, attention_transfer, find_divergence


class TeacherTargets(NamedTuple):
    """Outputs of the teacher on the images of a student step."""

    logits: Tensor
    outputs: Tensor
    """Outputs that the student's divergence compares with the student's: ``Divergence.outputs``, (batch, classes)."""

    maps: list[Tensor]


class StudentLoss(NamedTuple):
    """Loss of a student step with its parts, all scalars, and the student's logits (batch, classes)."""

    loss: Tensor
    divergence: Tensor
    attention: Tensor
    logits: Tensor


class StudentMatching:
    """Student loss of one trial, and the teacher's targets for it."""

    def __init__(
        self,
        config: ZeroShotConfig,
        *,
        teacher: Network,
        student: Network,
        attention_pairs: Sequence[tuple[int, int]],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Prepare the loss.

        Args:
            config: The trial's settings.
            teacher: Frozen teacher in eval mode.
            student: Student that is trained.
            attention_pairs: Pairs of activations to compare: index in the student's list, index in the teacher's list.
            device: Device of all networks.
            dtype: Type of weights, images and losses.
        """
        self._config = config
        self.teacher = teacher
        self.student = student
        self._student_layers = [of_student for of_student, _ in attention_pairs]
        self._teacher_layers = [of_teacher for _, of_teacher in attention_pairs]
        self._device = device
        self._dtype = dtype
        self._of_student = find_divergence(config.student_divergence)
        # Tensors, since a number would be compiled into the code, and each other number would need another compilation.
        self._temperature = torch.tensor(config.temperature, device=device, dtype=dtype)
        self._attention_weight = torch.tensor(config.attention_weight, device=device, dtype=dtype)
        self.student_loss = self._student_loss
        """Function of images and the teacher's targets that returns the loss."""
        self.teacher_targets = self._teacher_targets
        """Function of images that returns the teacher's targets, without gradients."""

    def compile(self) -> str | None:
        """Compile the parts with most of the work.

        Returns:
            Why torch cannot compile here, in one line. None if torch can.
        """
        reason = compile_error(self._device)
        if reason is None:
            forget_compiled()
            self._compile_parts()
        return reason

    def forward(self, network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return a network's logits and activations for images, computed in the config's precision.

        Logits are converted to the type of the weights.
        """
        with self.autocast():
            logits, activations = network(images)
        return logits.to(self._dtype), activations

    def autocast(self) -> torch.autocast:
        """Return a context manager in which networks compute in the config's precision."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16")

    def targets_of(self, logits: Tensor, maps: list[Tensor]) -> TeacherTargets:
        """Return the targets made of the teacher's logits (batch, classes) and attention maps."""
        return TeacherTargets(logits, self._of_student.outputs(logits, self._temperature), maps)

    @property
    def number_of_maps(self) -> int:
        """Number of attention maps that are compared."""
        return len(self._teacher_layers)

    def teacher_maps(self, activations: list[Tensor]) -> list[Tensor]:
        """Return the teacher's attention maps that are compared, from all of its activations."""
        return self._attention_maps(activations, self._teacher_layers)

    def divergence(
        self, kind: Divergence, student_logits: Tensor, teacher_outputs: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Return a divergence with the config's reduction and temperature factor; a scalar.

        Args:
            kind: Divergence to compute.
            student_logits: (batch, classes).
            teacher_outputs: ``kind.outputs`` of the teacher, (batch, classes).
            temperature: Divides the student's logits. Defaults to the config's.
        """
        config = self._config
        temperature = self._temperature if temperature is None else temperature
        student_outputs = kind.outputs(student_logits, temperature)
        value = kind(student_outputs, teacher_outputs, config.divergence_reduction)
        return value * temperature**2 if config.temperature_factor == "squared" else value

    def _compile_parts(self) -> None:
        self.student_loss = compiled(self._student_loss)
        self.teacher_targets = compiled(self._teacher_targets)

    def _teacher_targets(self, images: Tensor) -> TeacherTargets:
        with torch.no_grad():
            logits, activations = self.forward(self.teacher, images)
            return self.targets_of(logits, self.teacher_maps(activations))

    def _student_loss(self, images: Tensor, targets: TeacherTargets) -> StudentLoss:
        logits, activations = self.forward(self.student, images)
        distance = self.divergence(self._of_student, logits, targets.outputs)
        if self._config.attention_weight == 0:
            return StudentLoss(distance, distance, torch.zeros_like(distance), logits)
        attention = attention_transfer(self._attention_maps(activations, self._student_layers), targets.maps)
        return StudentLoss(distance + self._attention_weight * attention, distance, attention, logits)

    def _attention_maps(self, activations: list[Tensor], layers: list[int]) -> list[Tensor]:
        return [attention_map(activations[layer].to(self._dtype)) for layer in layers]
