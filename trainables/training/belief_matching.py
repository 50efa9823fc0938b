"""Student and generator losses of adversarial belief matching (section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.compute.acceleration import compiled
from trainables.config import ZeroShotConfig
from trainables.networks import Network
from trainables.networks.generator import Generator
from trainables.training.generator_terms import GeneratorTerms
from trainables.training.losses import find_divergence
from trainables.training.matching import StudentMatching


class BeliefMatching(StudentMatching):
    """Student and generator losses of one trial, and the pseudo images on which they are computed."""

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
        """Prepare the losses.

        Args:
            config: The trial's settings.
            teacher: Frozen teacher in eval mode.
            student: Student that is trained.
            generator: Generator of the pseudo images.
            attention_pairs: Pairs of activations to compare: index in the student's list, index in the teacher's list.
            noise_stream: Random stream for the noise of generator terms.
            device: Device of all networks.
            dtype: Type of weights, images and losses.
        """
        super().__init__(
            config, teacher=teacher, student=student, attention_pairs=attention_pairs, device=device, dtype=dtype
        )
        self.generator = generator
        self._of_generator = find_divergence(config.generator_divergence)
        self.terms = GeneratorTerms(config, teacher, self.forward, noise_stream)
        self.generator_loss = self._generator_loss
        """Function of latents (batch, latent_dim) and noise (None if no term adds noise) that returns loss and images."""

    def updated_images(self, latents: Tensor) -> Tensor:
        """Return the pseudo images that the updated generator makes from the latents, without gradients."""
        # Shared latents: the published loop makes the same images once more in each student step.
        times = self._config.student_steps if self._config.latents == "shared" else 1
        with torch.no_grad(), self.generator.counted_as(times):
            return self._images(latents)

    def _compile_parts(self) -> None:
        super()._compile_parts()
        self.generator_loss = compiled(self._generator_loss)

    def _generator_loss(self, latents: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the generator's loss and the pseudo images on which it was computed."""
        images = self._images(latents)
        student_logits, _ = self.forward(self.student, images)
        teacher_logits, _ = self.forward(self.teacher, images)
        teacher_outputs = self._of_generator.outputs(teacher_logits, self._temperature)
        loss = -self.divergence(self._of_generator, student_logits, teacher_outputs)
        for term in self.terms.terms(images, student_logits, teacher_logits, noise):
            loss = loss + term
        return loss, images

    def _images(self, latents: Tensor) -> Tensor:
        with self.autocast():
            images: Tensor = self.generator(latents)
        return images.to(self._dtype)
