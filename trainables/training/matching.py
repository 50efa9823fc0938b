"""How a student is matched to its teacher on images that are given (section 2.2): the teacher's targets and the loss.

They belong to one trial, in its precision, and are compiled where its config asks for that.
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
    """What a student step learns from: what the teacher makes of the images."""

    logits: Tensor
    outputs: Tensor
    """What the student's divergence compares with the student's own."""

    maps: list[Tensor]


class StudentLoss(NamedTuple):
    """What a student step comes to, all scalars but the logits."""

    loss: Tensor
    divergence: Tensor
    attention: Tensor
    logits: Tensor


class StudentMatching:
    """The student's loss of one trial, and what the teacher gives for it."""

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
        """Make ready what the loss needs beside the networks.

        Args:
            config: The trial's settings.
            teacher: Frozen, in eval mode.
            student: The network that is trained.
            attention_pairs: Activations that attention transfer compares, by index in the student's and the teacher's.
            device: Where all networks are.
            dtype: Of weights, images and losses.
        """
        self._config = config
        self.teacher = teacher
        self.student = student
        self._student_layers = [of_student for of_student, _ in attention_pairs]
        self._teacher_layers = [of_teacher for _, of_teacher in attention_pairs]
        self._device = device
        self._dtype = dtype
        self._of_student = find_divergence(config.student_divergence)
        # Tensors, for a number would be compiled into the code and that be compiled anew for each.
        self._temperature = torch.tensor(config.temperature, device=device, dtype=dtype)
        self._attention_weight = torch.tensor(config.attention_weight, device=device, dtype=dtype)
        self.student_loss = self._student_loss
        """From images and the teacher's targets to the loss."""
        self.teacher_targets = self._teacher_targets
        """From images to the teacher's targets, without gradients."""

    def compile(self) -> str | None:
        """Compile the parts with most of the work.

        Returns:
            Why torch cannot, in a line; None if it can.
        """
        reason = compile_error(self._device)
        if reason is None:
            forget_compiled()
            self._compile_parts()
        return reason

    def forward(self, network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what a network makes of images, in the config's precision; logits as precise as the weights."""
        with self.autocast():
            logits, activations = network(images)
        return logits.to(self._dtype), activations

    def autocast(self) -> torch.autocast:
        """Return a block in which networks compute in the config's precision."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16")

    def targets_of(self, logits: Tensor, maps: list[Tensor]) -> TeacherTargets:
        """Return the targets that follow from the teacher's logits (batch, classes) and attention maps."""
        return TeacherTargets(logits, self._of_student.outputs(logits, self._temperature), maps)

    @property
    def number_of_maps(self) -> int:
        """How many attention maps are compared."""
        return len(self._teacher_layers)

    def teacher_maps(self, activations: list[Tensor]) -> list[Tensor]:
        """Return the teacher's attention maps that are compared, from all of its activations."""
        return self._attention_maps(activations, self._teacher_layers)

    def divergence(
        self, kind: Divergence, student_logits: Tensor, teacher_outputs: Tensor, temperature: Tensor | None = None
    ) -> Tensor:
        """Return a divergence with the config's reduction and temperature factor; a scalar.

        Args:
            kind: Which one.
            student_logits: (batch, classes).
            teacher_outputs: ``kind.outputs`` of the teacher, (batch, classes).
            temperature: Divides the student's logits; none: the config's.
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
