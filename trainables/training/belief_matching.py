"""The losses of adversarial belief matching (section 2): the student's, and the generator's on its own images."""

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
        super().__init__(
            config, teacher=teacher, student=student, attention_pairs=attention_pairs, device=device, dtype=dtype
        )
        self.generator = generator
        self._of_generator = find_divergence(config.generator_divergence)
        self.terms = GeneratorTerms(config, teacher, self.forward, noise_stream)
        self.generator_loss = self._generator_loss
        """From latents (batch, latent_dim) and noise, if a term adds some, to the loss and the images."""

    def updated_images(self, latents: Tensor) -> Tensor:
        """Return what the generator, after its update, makes of the latents."""
        # Shared latents: the published loop makes the same images once more in each student step.
        times = self._config.student_steps if self._config.latents == "shared" else 1
        with torch.no_grad(), self.generator.counted_as(times):
            return self._images(latents)

    def _compile_parts(self) -> None:
        super()._compile_parts()
        self.generator_loss = compiled(self._generator_loss)

    def _generator_loss(self, latents: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss, and the images on which it was found."""
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
