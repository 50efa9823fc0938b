"""The published loop, written from a description of the authors' code, with all its redundant work.

The generator runs anew in each of the ``generator_steps + student_steps`` inner iterations, the student's backward pass runs
through teacher and generator, and the gradients of every network are computed, used or not.
``trainables.training.distiller`` must give the same networks, and its speed is compared with this loop.

The loop is this project's own transcription, with its networks, initialisation and latents, and it rounds like this
project's code: the KL divergence takes the teacher's log-probabilities, where the authors' code takes probabilities, and the
attention weight is applied after the sum over layers. ``tests/trainables/training/test_published_formulas.py`` compares the
loop with the authors' formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import ZeroShotConfig
from trainables.images.splits import DatasetSplits
from trainables.networks import Network
from trainables.seeding import stream
from trainables.teachers.teacher import Teacher
from trainables.training.distiller import ZeroShotDistiller


@dataclass(kw_only=True)
class PublishedLoop:
    """The state of a run: three networks, two optimizers, and the source of latents."""

    config: ZeroShotConfig
    teacher: Network
    student: Network
    generator: nn.Module
    latent_stream: torch.Generator

    @classmethod
    def beginning(
        cls,
        config: ZeroShotConfig,
        teacher: Teacher,
        splits: DatasetSplits,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> PublishedLoop:
        """Build the published loop with the initial networks of a trial with this config, without its optimisations."""
        plain = config.model_copy(update={"numerics": "exact", "precision": "float32", "compilation": "never"})
        start = ZeroShotDistiller(plain, teacher=teacher, splits=splits, dtype=dtype, device=device)
        return cls(
            config=config,
            teacher=start.teacher.requires_grad_(True),  # the published code does not turn off gradients
            student=start.student,
            generator=start.generator,
            latent_stream=stream(config.seed, "latents"),
        )

    def __post_init__(self) -> None:
        """Set the modes of all networks once, as published, and create both optimizers."""
        self.teacher.eval()
        self.student.train()
        self.generator.train()
        config = self.config
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=config.generator_lr)
        self.student_optimizer = torch.optim.Adam(self.student.parameters(), lr=config.student_lr)
        self.done = 0

    def pseudo_batch(self) -> None:
        """Run one outer iteration: all generator steps and student steps of one pseudo batch."""
        config = self.config
        share = (1 + math.cos(math.pi * self.done / config.horizon)) / 2
        self.generator_optimizer.param_groups[0]["lr"] = config.generator_lr * share
        self.student_optimizer.param_groups[0]["lr"] = config.student_lr * share
        parameter = next(self.generator.parameters())
        latents = torch.randn(
            config.batch_size, config.latent_dim, generator=self.latent_stream, dtype=parameter.dtype
        ).to(parameter.device)
        for inner in range(config.generator_steps + config.student_steps):
            images = self.generator(latents)
            if inner < config.generator_steps:
                student_logits, _ = self.student(images)
                teacher_logits, _ = self.teacher(images)
                loss = self.generator_loss(student_logits, teacher_logits)
                self._step(self.generator, self.generator_optimizer, loss)
            else:
                if inner == config.generator_steps:
                    with torch.no_grad():
                        teacher_logits, teacher_activations = self.teacher(images)
                student_logits, student_activations = self.student(images)
                loss = self.student_loss(student_logits, student_activations, teacher_logits, teacher_activations)
                self._step(self.student, self.student_optimizer, loss)
        self.done += 1

    def generator_loss(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the loss of a generator step; logits are (batch, classes)."""
        return -self._kl(teacher_logits, student_logits)

    def student_loss(
        self,
        student_logits: Tensor,
        student_activations: list[Tensor],
        teacher_logits: Tensor,
        teacher_activations: list[Tensor],
    ) -> Tensor:
        """Return the loss of a student step.

        Logits are (batch, classes); activations are (batch, channels, height, width), one tensor for each layer.
        """
        loss = self._kl(teacher_logits, student_logits)
        if self.config.attention_weight > 0:
            loss = loss + self.config.attention_weight * self._attention(student_activations, teacher_activations)
        return loss

    def _step(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_clip_norm or math.inf)
        optimizer.step()

    def _kl(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        temperature = self.config.temperature
        student = F.log_softmax(student_logits / temperature, dim=1)
        teacher = F.log_softmax(teacher_logits / temperature, dim=1)
        return F.kl_div(student, teacher, reduction="none", log_target=True).mean()

    def _attention(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        terms = []
        for ours, theirs in zip(student, teacher, strict=True):
            maps = [F.normalize(activation.pow(2).mean(1).view(len(activation), -1)) for activation in (ours, theirs)]
            terms.append((maps[0] - maps[1]).pow(2).mean())
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total
