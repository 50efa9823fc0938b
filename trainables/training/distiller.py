"""Adversarial belief matching: the loop that trains generator and student against a frozen teacher (section 2).

One pseudo batch, with the latents drawn once and kept for all of it:

1. ``generator_steps`` times: images = generator(latents); the generator moves to *increase* the KL divergence between
   teacher and student on them. The student is in train mode, so its BatchNorm statistics see these images too.
2. The updated generator makes the images again. The teacher has one forward pass on them.
3. ``student_steps`` times: the student moves to decrease KL divergence plus attention transfer on those images.
4. Both learning rates follow a cosine over the trial's pseudo batches.

The published code regenerates the images in each inner step and lets the student's backward pass run through teacher
and generator. ``numerics=exact`` leaves both out and gives the same networks bit for bit: the student's updates never use
those gradients, and the images are equal in all student steps of a pseudo batch
(``tests/trainables/training/test_distiller.py`` compares with a plain transcription). ``numerics=fast`` also changes the
order of operations, see ``use_fast_numerics``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.compute.acceleration import capturable_adam, use_fast_numerics
from trainables.compute.cuda_graphs import Recorded
from trainables.compute.devices import is_asynchronous, send, tf32
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.networks.generator import Generator
from trainables.seeding import seeded, stream
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.belief_matching import BeliefMatching
from trainables.training.image_snapshots import ImageSnapshot, generated_images, take_image_snapshot
from trainables.training.matching import StudentLoss, TeacherTargets
from trainables.training.protocol import load_optimizer, set_rate
from trainables.training.pseudo_images import PseudoImageTraining, clipped_norm, diversity
from trainables.training.schedules import cosine


class ZeroShotDistiller(PseudoImageTraining):
    """Training of one zero-shot trial: generator and student against a frozen teacher."""

    def __init__(
        self,
        config: ZeroShotConfig,
        *,
        teacher: Teacher,
        splits: DatasetSplits,
        probe: ProbeSet | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Build the trial's initial state; see ``PseudoImageTraining`` for the arguments.

        Raises:
            ValueError: attention transfer between networks without matching activations, or data-free scores without a
                probe set.
        """
        super().__init__(config, teacher=teacher, splits=splits, probe=probe, device=device, dtype=dtype, clock=clock)
        spec = config.spec
        with seeded(self.generator_seed, "generator"):
            generator = Generator(
                latent_dim=config.latent_dim,
                width=config.generator_width,
                channels=spec.channels,
                image_size=spec.image_size,
            )
        self.generator = generator.to(self.device, dtype).train()
        adam = capturable_adam if config.numerics == "fast" and is_asynchronous(self.device) else torch.optim.Adam
        self.student_optimizer = adam(self.learning, lr=config.student_lr)
        self.generator_optimizer = adam(self.generator.parameters(), lr=config.generator_lr)
        if config.numerics == "fast":
            use_fast_numerics(teacher=self.teacher, student=self.student, generator=self.generator)
        self.losses = BeliefMatching(
            config,
            teacher=self.teacher,
            student=self.student,
            generator=self.generator,
            attention_pairs=self.attention_pairs(),
            noise_stream=stream(self.generator_seed, "noise"),
            device=self.device,
            dtype=dtype,
        )
        # Always on the CPU: the same numbers on every device, and a checkpoint from which any device can resume.
        self._latent_stream = stream(self.generator_seed, "latents")
        self._image_shape = (config.batch_size, *spec.image_shape)
        self._launch = self._recorded()
        self.compile(self.losses)
        if config.cuda_graphs and not is_asynchronous(self.device):
            self.notes.append("cuda_graphs=true has no effect on a CPU; CUDA graphs need a GPU")

    def step(self) -> None:
        with (
            self.log.training(self.student),
            seeded(self.student_seed, f"pseudo batch {self.pseudo_batches}", self.device),
            tf32(allowed=self.config.precision == "tf32"),
        ):
            self._pseudo_batch()

    def train(self, pseudo_batches: int, after_each: Callable[[], None] | None = None) -> None:
        """Train for ``pseudo_batches`` pseudo batches, whatever the budget."""
        for _ in range(pseudo_batches):
            self.step()
            if after_each:
                after_each()

    def report(self) -> Report:
        # First, because the log waits for the device to finish.
        entry = self.log.report(self, self.student, self.generator, further=lambda: self.scores(self.student))
        step = max(0, self.pseudo_batches - 1)
        generator_lr, student_lr = (
            self._rate(rate, step) for rate in (self.config.generator_lr, self.config.student_lr)
        )
        self.last_report = self.counted(entry, generator_lr=generator_lr, student_lr=student_lr)
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        # The global random states are seeded from the seed and ``pseudo_batches`` at each step, so these streams are all
        # of the random state.
        return self.common_state() | {
            "student": self.student.state_dict(),
            "generator": self.generator.state_dict(),
            "student_optimizer": self.student_optimizer.state_dict()["state"],
            "generator_optimizer": self.generator_optimizer.state_dict()["state"],
            "latent_stream": self._latent_stream.get_state(),
            "extra_terms": self.losses.terms.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self.student_optimizer, state["student_optimizer"])
        load_optimizer(self.generator_optimizer, state["generator_optimizer"])
        self._launch = self._recorded()  # the optimizers' moments are now other tensors than those recorded
        self._latent_stream.set_state(state["latent_stream"])
        self.losses.terms.load_state_dict(state["extra_terms"])
        self.restore_common(state)

    def image_snapshot(self) -> ImageSnapshot:
        return take_image_snapshot(
            self.config,
            images=generated_images(self.generator),
            teacher=self.teacher,
            student=self.student,
            done=self.done,
        )

    def _pseudo_batch(self) -> None:
        config = self.config
        set_rate(self.generator_optimizer, self._rate(config.generator_lr, self.pseudo_batches))
        set_rate(self.student_optimizer, self._rate(config.student_lr, self.pseudo_batches))
        self._launch(*self._draw())
        self.pseudo_batches += 1
        self.generator_updates += config.generator_steps
        self.student_updates += config.student_steps
        self.training_flops += step_flops(config)

    def _draw(self) -> list[Tensor]:
        """Draw the random numbers of one pseudo batch, in the order of the parameters of ``_learn``."""
        config = self.config
        further = config.student_steps if config.latents == "fresh" else 0
        shape = (config.batch_size, config.latent_dim)
        # One draw after the other: a single larger draw gives other numbers.
        latents = [torch.randn(shape, generator=self._latent_stream, dtype=self.dtype) for _ in range(1 + further)]
        noise = [self.losses.terms.draw(self._image_shape, self.dtype) for _ in range(config.generator_steps)]
        return [send(numbers, self.device) for numbers in (torch.stack(latents), *noise) if numbers is not None]

    def _learn(self, latents: Tensor, *noise: Tensor) -> None:
        """Run the device's part of a pseudo batch. Tensors are changed in place only, so that a CUDA graph can replay it.

        Args:
            latents: (draws, batch, latent_dim): one draw for the generator steps, then one for each student step if
                ``latents=fresh``.
            noise: One tensor in the shape of the images for each generator step; none if no term adds noise.
        """
        config = self.config
        with self.looking_only(self.student):
            generator_losses, generator_norms, scored = zip(
                *(self._generator_step(latents[0], *noise[step : step + 1]) for step in range(config.generator_steps)),
                strict=True,
            )

        if config.latents == "shared":
            images = scored[-1] if config.student_batch == "scored" else self.losses.updated_images(latents[0])
            targets = self.losses.teacher_targets(images)
        for number in range(config.student_steps):
            if config.latents == "fresh":
                images = self.losses.updated_images(latents[1 + number])
                targets = self.losses.teacher_targets(images)
            step, student_norm = self._student_step(images, targets)

        self.log.means.add(
            torch.stack(generator_losses).mean(),
            step.loss,
            step.divergence,
            step.attention,
            targets.logits.softmax(1).amax(1).mean(),
            step.logits.softmax(1).amax(1).mean(),
            torch.stack(generator_norms).mean(),
            student_norm,
            diversity(images),
        )
        self.classes.add(targets.logits, step.logits)

    def _generator_step(self, latents: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Take one generator step, which increases the disagreement; return loss, gradient norm and images, detached."""
        loss, images = self.losses.generator_loss(latents, noise)
        norm = self._update(self.generator, self.generator_optimizer, loss)
        return loss.detach(), norm, images.detach()

    def _student_step(self, images: Tensor, targets: TeacherTargets) -> tuple[StudentLoss, Tensor]:
        """Take one student step towards the teacher; return its losses and logits, detached, and its gradient norm."""
        found = self.losses.student_loss(images, targets)
        norm = self._update(self.student, self.student_optimizer, found.loss)
        return StudentLoss(*(value.detach() for value in found)), norm

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clipped_norm(network, self.config.gradient_clip_norm)
        optimizer.step()
        return norm

    def _rate(self, initial: float, pseudo_batch: int) -> float:
        return cosine(initial, pseudo_batch, self.config.horizon)

    def _recorded(self) -> Callable[..., None]:
        """Return the device's part of a pseudo batch, as a CUDA graph if the config asks for one on a GPU."""
        return Recorded(self._learn) if self.config.cuda_graphs and is_asynchronous(self.device) else self._learn
