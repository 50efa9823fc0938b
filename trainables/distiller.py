"""Adversarial belief matching: the loop that trains generator and student against a frozen teacher (section 2).

One pseudo batch, with the latents drawn once and kept for all of it:

1. ``generator_steps`` times: images = generator(latents); the generator moves to *increase* the KL divergence between
   teacher and student on them. The student is in train mode, so its BatchNorm statistics see these images too.
2. The images are generated anew by the updated generator. The teacher looks at them once.
3. ``student_steps`` times: the student moves to decrease KL divergence plus attention transfer on those images.
4. Both learning rates follow a cosine over the trial's pseudo batches.

The published code regenerates the images in each inner step and lets the student's backward pass run through teacher
and generator. Leaving that out gives the same networks bit for bit (``tests/trainables/test_distiller.py`` compares with
a plain transcription): the student's updates never used those gradients, and within a student phase the images are equal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from trainables.config import ZeroShotConfig
from trainables.data import ImageSet
from trainables.datasets import NORMALISATIONS, SPECS
from trainables.errors import CheckpointError
from trainables.evaluation import accuracy
from trainables.generator import Generator
from trainables.losses import attention_map, attention_transfer, kl_divergence, log_probabilities
from trainables.networks import build_network
from trainables.schedules import cosine
from trainables.seeding import seeded_initialisation, stream
from trainables.teachers import Teacher

Report = dict[str, int | float | bool]
"""One value for each of ``trainables.metrics.METRICS``."""

_MEANS = (
    "generator_loss",
    "student_loss",
    "kl_divergence",
    "attention_transfer",
    "teacher_confidence",
    "student_confidence",
    "generator_gradient_norm",
    "student_gradient_norm",
)


class ZeroShotDistiller:
    """One trial's networks, optimizers and random streams, and how they advance."""

    def __init__(
        self,
        config: ZeroShotConfig,
        *,
        teacher: Teacher,
        validation: ImageSet,
        test: ImageSet,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build the trial's initial state.

        Args:
            config: The trial's settings.
            teacher: Weights for ``config.teacher`` on ``config.dataset``.
            validation: Images to measure ``validation_accuracy`` on.
            test: Images to measure ``test_accuracy`` on.
            device: Where everything lives.
            dtype: Of weights and images; float64 serves comparisons between implementations.

        Raises:
            ValueError: attention transfer is asked for between networks whose activations do not match.
        """
        spec = SPECS[config.dataset]
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = NORMALISATIONS[config.normalisation or config.dataset]
        self.teacher = teacher.build().to(self.device, dtype).requires_grad_(False).eval()
        with seeded_initialisation(config.seed, "student"):
            student = build_network(config.student, num_classes=spec.num_classes, channels=spec.channels)
        with seeded_initialisation(config.seed, "generator"):
            generator = Generator(latent_dim=config.latent_dim, width=config.generator_width, channels=spec.channels)
        self.student = student.to(self.device, dtype).train()
        self.generator = generator.to(self.device, dtype).train()
        self.student_optimizer = torch.optim.Adam(self.student.parameters(), lr=config.student_lr)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=config.generator_lr)
        # Always on the CPU: the same latents on every device, and a checkpoint that any device can continue.
        self._latent_stream = stream(config.seed, "latents")
        self._validation = validation.to(self.device)
        self._test = test.to(self.device)
        self.pseudo_batches = 0
        self.generator_updates = 0
        self.student_updates = 0
        self._training_seconds = 0.0
        self._evaluation_seconds = 0.0
        self._sums = self._zero_sums()
        self._batches_in_sums = 0
        self.last_report: Report | None = None
        if config.attention_weight > 0:
            self._check_attention(spec.channels)

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the trial has diverged."""
        diverged = self.last_report is not None and bool(self.last_report["diverged"])
        return diverged or self.pseudo_batches >= self.config.last_pseudo_batch

    def advance(self, after_each: Callable[[], None] | None = None) -> Report:
        """Train up to the next report and make it. Reports fall on the same pseudo batches in every run.

        Args:
            after_each: Called after each pseudo batch, when ``state_dict`` may be taken.
        """
        interval = self.config.pseudo_batches_per_report
        goal = min((self.pseudo_batches // interval + 1) * interval, self.config.last_pseudo_batch)
        self.train(goal - self.pseudo_batches, after_each)
        return self.report()

    def train(self, pseudo_batches: int, after_each: Callable[[], None] | None = None) -> None:
        """Do that many pseudo batches."""
        for number in range(1, pseudo_batches + 1):
            start = time.perf_counter()
            self._pseudo_batch()
            if self.device.type == "cuda" and number == pseudo_batches:
                torch.cuda.synchronize(self.device)  # once: a device that is waited for at each batch runs dry
            self._training_seconds += time.perf_counter() - start
            if after_each:
                after_each()

    def report(self) -> Report:
        """Measure the student and take the means since the last report. Leaves the networks as they were."""
        start = time.perf_counter()
        accuracies = {
            "validation_accuracy": accuracy(self.student, self._validation, self.normalisation),
            "test_accuracy": accuracy(self.student, self._test, self.normalisation),
        }
        self._evaluation_seconds += time.perf_counter() - start
        count = max(1, self._batches_in_sums)
        means = dict(zip(_MEANS, (self._sums / count).tolist(), strict=True))
        self._sums, self._batches_in_sums = self._zero_sums(), 0
        step = max(0, self.pseudo_batches - 1)
        self.last_report = {
            "pseudo_batches": self.pseudo_batches,
            "generator_updates": self.generator_updates,
            "student_updates": self.student_updates,
            **accuracies,
            **means,
            "generator_lr": self._rate(self.config.generator_lr, step),
            "student_lr": self._rate(self.config.student_lr, step),
            "diverged": not (all(map(math.isfinite, means.values())) and self._weights_are_finite()),
            "training_seconds": self._training_seconds,
            "evaluation_seconds": self._evaluation_seconds,
        }
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next pseudo batch depends on: see ``trainables.checkpoint``.

        Nothing in the loop draws from torch's global random state, so the latents' stream is the only random state.
        """
        return {
            "config": self.config.model_dump(),
            "student": self.student.state_dict(),
            "generator": self.generator.state_dict(),
            # Settings of the optimizers are left out: they follow from the config.
            "student_optimizer": self.student_optimizer.state_dict()["state"],
            "generator_optimizer": self.generator_optimizer.state_dict()["state"],
            "latent_stream": self._latent_stream.get_state(),
            "sums": self._sums,
            "counters": {
                "pseudo_batches": self.pseudo_batches,
                "generator_updates": self.generator_updates,
                "student_updates": self.student_updates,
                "batches_in_sums": self._batches_in_sums,
                "training_seconds": self._training_seconds,
                "evaluation_seconds": self._evaluation_seconds,
            },
            "last_report": self.last_report,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of a distiller with the same config.

        Raises:
            CheckpointError: the state belongs to another config; the message names the fields.
        """
        ours = self.config.model_dump()
        different = [field for field in ours if state["config"].get(field, ours[field]) != ours[field]]
        if different:
            pairs = (f"{field}={state['config'][field]!r} (here {ours[field]!r})" for field in different)
            raise CheckpointError(f"checkpoint of another config: {', '.join(pairs)}")
        self.student.load_state_dict(state["student"])
        self.generator.load_state_dict(state["generator"])
        for optimizer, name in (
            (self.student_optimizer, "student_optimizer"),
            (self.generator_optimizer, "generator_optimizer"),
        ):
            optimizer.load_state_dict({"state": state[name], "param_groups": optimizer.state_dict()["param_groups"]})
        self._latent_stream.set_state(state["latent_stream"])
        self._sums = state["sums"].to(self.device)
        counters = state["counters"]
        self.pseudo_batches = counters["pseudo_batches"]
        self.generator_updates = counters["generator_updates"]
        self.student_updates = counters["student_updates"]
        self._batches_in_sums = counters["batches_in_sums"]
        self._training_seconds = counters["training_seconds"]
        self._evaluation_seconds = counters["evaluation_seconds"]
        self.last_report = state["last_report"]

    def _pseudo_batch(self) -> None:
        config = self.config
        self._set_rate(self.generator_optimizer, self._rate(config.generator_lr, self.pseudo_batches))
        self._set_rate(self.student_optimizer, self._rate(config.student_lr, self.pseudo_batches))
        shape = (config.batch_size, config.latent_dim)
        latents = torch.randn(shape, generator=self._latent_stream, dtype=self.dtype).to(self.device)
        self.student.requires_grad_(False)  # its gradients in the generator's step were never used
        generator_losses, generator_norms = zip(
            *(self._generator_step(latents) for _ in range(config.generator_steps)), strict=True
        )
        self.student.requires_grad_(True)

        with torch.no_grad(), self._counted_as(config.student_steps):
            images = self.generator(latents)
        with torch.no_grad():
            teacher_logits, teacher_activations = self.teacher(images)
            teacher_log_probabilities = log_probabilities(teacher_logits, config.temperature)
            teacher_maps = self._attention_maps(teacher_activations)
        for _ in range(config.student_steps):
            last_step = self._student_step(images, teacher_log_probabilities, teacher_maps)

        self.pseudo_batches += 1
        self._batches_in_sums += 1
        with torch.no_grad():
            teacher_confidence = teacher_logits.softmax(1).amax(1).mean()
            loss, kl, attention, student_confidence, student_norm = last_step
            self._sums += torch.stack(
                [
                    torch.stack(generator_losses).mean(),
                    loss,
                    kl,
                    attention,
                    teacher_confidence,
                    student_confidence,
                    torch.stack(generator_norms).mean(),
                    student_norm,
                ]
            )

    def _generator_step(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """One update that increases the disagreement; returns loss and gradient norm, detached."""
        images = self.generator(latents)
        student_logits, _ = self.student(images)
        teacher_logits, _ = self.teacher(images)
        temperature = self.config.temperature
        loss = -kl_divergence(
            log_probabilities(student_logits, temperature), log_probabilities(teacher_logits, temperature)
        )
        norm = self._update(self.generator, self.generator_optimizer, loss)
        self.generator_updates += 1
        return loss.detach(), norm

    def _student_step(
        self, images: Tensor, teacher_log_probabilities: Tensor, teacher_maps: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One update towards the teacher; returns loss, KL, attention, confidence and gradient norm, detached."""
        logits, activations = self.student(images)
        kl = kl_divergence(log_probabilities(logits, self.config.temperature), teacher_log_probabilities)
        attention = torch.zeros_like(kl)
        loss = kl
        if self.config.attention_weight > 0:
            attention = attention_transfer(self._attention_maps(activations), teacher_maps)
            loss = kl + self.config.attention_weight * attention
        norm = self._update(self.student, self.student_optimizer, loss)
        self.student_updates += 1
        confidence = logits.detach().softmax(1).amax(1).mean()
        return loss.detach(), kl.detach(), attention.detach(), confidence, norm

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.config.gradient_clip_norm)
        optimizer.step()
        return norm

    def _attention_maps(self, activations: list[Tensor]) -> list[Tensor]:
        return [attention_map(activation) for activation in activations] if self.config.attention_weight > 0 else []

    @contextmanager
    def _counted_as(self, times: int) -> Iterator[None]:
        """One generator forward moves its BatchNorm statistics as ``times`` equal ones would.

        The published loop runs the generator once more in each student step. Its batch statistics are the same each
        time, and n updates with momentum m are one with 1 - (1 - m)^n.
        """
        layers = [module for module in self.generator.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            # Torch allows both to be None; the generator's layers are made with its defaults.
            layer.momentum = 1 - (1 - cast(float, layer.momentum)) ** times
            cast(Tensor, layer.num_batches_tracked).add_(times - 1)
        try:
            yield
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

    def _rate(self, initial: float, pseudo_batch: int) -> float:
        return cosine(initial, pseudo_batch, self.config.total_pseudo_batches)

    @staticmethod
    def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate

    def _zero_sums(self) -> Tensor:
        return torch.zeros(len(_MEANS), dtype=self.dtype, device=self.device)

    def _weights_are_finite(self) -> bool:
        values = [*self.student.state_dict().values(), *self.generator.state_dict().values()]
        return all(bool(value.isfinite().all()) for value in values)

    def _check_attention(self, channels: int) -> None:
        """Compare the activations' sizes on a blank image; in eval mode, so that no statistic moves."""
        blank = torch.zeros(1, channels, 32, 32, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            self.student.eval()
            sizes = [[tuple(a.shape[2:]) for a in net(blank)[1]] for net in (self.student, self.teacher)]
            self.student.train()
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"attention_weight={self.config.attention_weight:g}: the activations of {self.config.student} "
                f"{sizes[0]} and {self.config.teacher} {sizes[1]} differ in size; allowed: attention_weight=0, or two "
                "networks of one family"
            )
