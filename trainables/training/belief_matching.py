"""The losses of adversarial belief matching (section 2): the generator's, the student's, and what the teacher gives for it.

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
from trainables.networks.generator import Generator
from trainables.training.generator_terms import GeneratorTerms
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


class BeliefMatching:
    """The losses of one trial, and the images that they are of."""

    def __init__(
        self,
        config: ZeroShotConfig,
        *,
        teacher: Network,
        student: Network,
        generator: Generator,
        attention_pairs: Sequence[tuple[int, int]],
        noise_stream: torch.Generator,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Make ready what the losses need beside the networks.

        Args:
            config: The trial's settings.
            teacher: Frozen, in eval mode.
            student: The network that is trained.
            generator: What makes the images.
            attention_pairs: Activations that attention transfer compares, by index in the student's and the teacher's.
            noise_stream: Where the noise of generator terms comes from.
            device: Where all networks are.
            dtype: Of weights, images and losses.
        """
        self._config = config
        self.teacher = teacher
        self.student = student
        self.generator = generator
        self._student_layers = [of_student for of_student, _ in attention_pairs]
        self._teacher_layers = [of_teacher for _, of_teacher in attention_pairs]
        self._device = device
        self._dtype = dtype
        self._of_student = find_divergence(config.student_divergence)
        self._of_generator = find_divergence(config.generator_divergence)
        # Tensors, for a number would be compiled into the code and that be compiled anew for each.
        self._temperature = torch.tensor(config.temperature, device=device, dtype=dtype)
        self._attention_weight = torch.tensor(config.attention_weight, device=device, dtype=dtype)
        self.terms = GeneratorTerms(config, teacher, self._forward, noise_stream)
        self.generator_loss = self._generator_loss
        """From latents (batch, latent_dim) and noise, if a term adds some, to the loss and the images."""
        self.student_loss = self._student_loss
        """From images and the teacher's targets to the loss."""
        self.teacher_targets = self._teacher_targets
        """From images to the teacher's targets, without gradients."""

    def compile(self) -> str | None:
        """Compile the three parts with most of the work.

        Returns:
            Why torch cannot, in a line; None if it can.
        """
        reason = compile_error(self._device)
        if reason is None:
            forget_compiled()
            self.generator_loss = compiled(self._generator_loss)
            self.student_loss = compiled(self._student_loss)
            self.teacher_targets = compiled(self._teacher_targets)
        return reason

    def updated_images(self, latents: Tensor) -> Tensor:
        """Return what the generator, after its update, makes of the latents."""
        # Shared latents: the published loop makes the same images once more in each student step.
        times = self._config.student_steps if self._config.latents == "shared" else 1
        with torch.no_grad(), self.generator.counted_as(times):
            return self._images(latents)

    def _generator_loss(self, latents: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss, and the images on which it was found."""
        images = self._images(latents)
        student_logits, _ = self._forward(self.student, images)
        teacher_logits, _ = self._forward(self.teacher, images)
        teacher_outputs = self._of_generator.outputs(teacher_logits, self._temperature)
        loss = -self._divergence(self._of_generator, student_logits, teacher_outputs)
        for term in self.terms.terms(images, student_logits, teacher_logits, noise):
            loss = loss + term
        return loss, images

    def _teacher_targets(self, images: Tensor) -> TeacherTargets:
        with torch.no_grad():
            logits, activations = self._forward(self.teacher, images)
            outputs = self._of_student.outputs(logits, self._temperature)
            return TeacherTargets(logits, outputs, self._attention_maps(activations, self._teacher_layers))

    def _student_loss(self, images: Tensor, targets: TeacherTargets) -> StudentLoss:
        logits, activations = self._forward(self.student, images)
        distance = self._divergence(self._of_student, logits, targets.outputs)
        if self._config.attention_weight == 0:
            return StudentLoss(distance, distance, torch.zeros_like(distance), logits)
        attention = attention_transfer(self._attention_maps(activations, self._student_layers), targets.maps)
        return StudentLoss(distance + self._attention_weight * attention, distance, attention, logits)

    def _forward(self, network: Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What a network makes of images, in the config's precision; logits as precise as the weights."""
        with self._autocast():
            logits, activations = network(images)
        return logits.to(self._dtype), activations

    def _images(self, latents: Tensor) -> Tensor:
        with self._autocast():
            images: Tensor = self.generator(latents)
        return images.to(self._dtype)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16")

    def _divergence(self, kind: Divergence, student_logits: Tensor, teacher_outputs: Tensor) -> Tensor:
        config = self._config
        student_outputs = kind.outputs(student_logits, self._temperature)
        value = kind(student_outputs, teacher_outputs, config.divergence_reduction)
        return value * self._temperature**2 if config.temperature_factor == "squared" else value

    def _attention_maps(self, activations: list[Tensor], layers: list[int]) -> list[Tensor]:
        return [attention_map(activations[layer].to(self._dtype)) for layer in layers]
