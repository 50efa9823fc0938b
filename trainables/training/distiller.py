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
That is ``numerics=exact``; ``fast`` also computes in another order, see ``use_fast_numerics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from trainables.compute.acceleration import capturable_adam, use_fast_numerics
from trainables.compute.cuda_graphs import Recorded
from trainables.compute.devices import is_asynchronous, send, tf32
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig
from trainables.config.datasets import find_normalisation
from trainables.evaluation import ProbeSet
from trainables.images.splits import DatasetSplits
from trainables.metrics import Report
from trainables.networks import Network, build_network
from trainables.networks.generator import Generator
from trainables.seeding import seeded, stream
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.attention import compared_layers, watch_layers
from trainables.training.belief_matching import BeliefMatching
from trainables.training.image_snapshots import ImageSnapshot, generated_images, take_image_snapshot
from trainables.training.matching import StudentLoss, TeacherTargets
from trainables.training.protocol import Training, TrainingInputs, load_optimizer, set_rate
from trainables.training.pseudo_images import PredictedClasses, data_free_scores, diversity
from trainables.training.reports import TrainingLog
from trainables.training.schedules import cosine

_MEANS = (
    "generator_loss",
    "student_loss",
    "divergence",
    "attention_transfer",
    "teacher_confidence",
    "student_confidence",
    "generator_gradient_norm",
    "student_gradient_norm",
    "image_diversity",
)


class ZeroShotDistiller(Training):
    """One zero-shot trial."""

    config: ZeroShotConfig
    teacher: Network

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
        """Build the trial's initial state.

        Args:
            config: The trial's settings.
            teacher: Weights for ``config.teacher`` on ``config.dataset``.
            splits: Images to measure accuracies on. The training part is not touched.
            probe: Images made from the teacher, on which ``data_free_scores`` are found.
            device: Where everything lives.
            dtype: Of weights and images; float64 serves comparisons between implementations.
            clock: Times training and evaluation.

        Raises:
            ValueError: attention transfer is asked for between networks whose activations do not match, or scores without
                a probe.
        """
        spec = config.spec
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = find_normalisation(config.normalisation or config.dataset)
        teacher_network = teacher.build()
        generator_seed = config.seed if config.generator_seed is None else config.generator_seed
        self._student_seed = config.seed if config.student_seed is None else config.student_seed
        with seeded(self._student_seed, "student"):
            student = build_network(config.student, **spec.shapes)
        with seeded(generator_seed, "generator"):
            generator = Generator(
                latent_dim=config.latent_dim,
                width=config.generator_width,
                channels=spec.channels,
                image_size=spec.image_size,
            )
        watch_layers(student, config.student_attention_layers, spec.image_shape, name=config.student)
        watch_layers(teacher_network, config.teacher_attention_layers, spec.image_shape, name=config.teacher)
        self.student = student.to(self.device, dtype).train()
        self.teacher = teacher_network.to(self.device, dtype).requires_grad_(False).eval()
        self.generator = generator.to(self.device, dtype).train()
        adam = capturable_adam if config.numerics == "fast" and is_asynchronous(self.device) else torch.optim.Adam
        # What the student's builder froze stays as it is.
        learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.student_optimizer = adam(learning, lr=config.student_lr)
        self.generator_optimizer = adam(self.generator.parameters(), lr=config.generator_lr)
        self._scores = data_free_scores(config, probe, self.teacher)
        if config.numerics == "fast":
            use_fast_numerics(teacher=self.teacher, student=self.student, generator=self.generator)
        self.losses = BeliefMatching(
            config,
            teacher=self.teacher,
            student=self.student,
            generator=self.generator,
            attention_pairs=compared_layers(
                self.student,
                self.teacher,
                spec.image_shape,
                weight=config.attention_weight,
                names=(config.student, config.teacher),
                layers=config.attention_layers,
            ),
            noise_stream=stream(generator_seed, "noise"),
            device=self.device,
            dtype=dtype,
        )
        # Always on the CPU: the same numbers on every device, and a checkpoint that any device can continue.
        self._latent_stream = stream(generator_seed, "latents")
        self._image_shape = (config.batch_size, *spec.image_shape)
        self.splits = splits.measured_on(self.device)
        self.pseudo_batches = 0
        self.generator_updates = 0
        self.student_updates = 0
        self.training_flops = 0
        self._classes = PredictedClasses(spec.num_classes, self.device)
        self.log = TrainingLog(_MEANS, self.student, clock=clock)
        self.last_report = None
        self.compiled = False
        self.notes = []
        self._launch = self._recorded()
        if config.compiles_on(self.device.type):
            self._compile()
        if config.precision == "tf32" and self.device.type != "cuda":
            self.notes.append("precision=tf32 is of GPUs; on a CPU it is float32")
        if config.cuda_graphs and not is_asynchronous(self.device):
            self.notes.append("cuda_graphs=true is of GPUs; on a CPU it changes nothing")

    @classmethod
    def build(cls, config: ZeroShotConfig, inputs: TrainingInputs, device: torch.device) -> Self:
        assert inputs.teacher is not None  # its config always names one
        return cls(
            config,
            teacher=inputs.teacher,
            splits=inputs.splits,
            probe=inputs.probe,
            device=device,
            clock=inputs.clock,
        )

    @property
    def done(self) -> int:
        return self.pseudo_batches

    def step(self) -> None:
        with (
            self.log.training(self.student),
            seeded(self._student_seed, f"pseudo batch {self.pseudo_batches}", self.device),
            tf32(allowed=self.config.precision == "tf32"),
        ):
            self._pseudo_batch()

    def train(self, pseudo_batches: int, after_each: Callable[[], None] | None = None) -> None:
        """Do that many pseudo batches, whatever the budget."""
        for _ in range(pseudo_batches):
            self.step()
            if after_each:
                after_each()

    def report(self) -> Report:
        # First, for it waits for the device.
        entry = self.log.report(self, self.student, self.generator, further=lambda: self._scores(self.student))
        classes = self._classes.take()
        step = max(0, self.pseudo_batches - 1)
        self.last_report = {
            "pseudo_batches": self.pseudo_batches,
            "generator_updates": self.generator_updates,
            "student_updates": self.student_updates,
            "training_flops": float(self.training_flops),
            "generator_lr": self._rate(self.config.generator_lr, step),
            "student_lr": self._rate(self.config.student_lr, step),
            **classes,
            **entry,
        }
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        # What networks draw from global random states follows from the seed and ``pseudo_batches``, so these streams are the
        # only random state.
        return {
            "config": self.config.model_dump(),
            "student": self.student.state_dict(),
            "generator": self.generator.state_dict(),
            "student_optimizer": self.student_optimizer.state_dict()["state"],
            "generator_optimizer": self.generator_optimizer.state_dict()["state"],
            "latent_stream": self._latent_stream.get_state(),
            "compiled": self.compiled,
            "extra_terms": self.losses.terms.state_dict(),
            "class_counts": self._classes.counts,
            "counters": {
                "pseudo_batches": self.pseudo_batches,
                "generator_updates": self.generator_updates,
                "student_updates": self.student_updates,
                "training_flops": self.training_flops,
            },
            "logbook": self.log.state_dict(),
            "last_report": self.last_report,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self.student_optimizer, state["student_optimizer"])
        load_optimizer(self.generator_optimizer, state["generator_optimizer"])
        self._launch = self._recorded()  # the moments are elsewhere now
        self._latent_stream.set_state(state["latent_stream"])
        if state["compiled"] != self.compiled:
            before, now = ("compiled", "not compiled") if state["compiled"] else ("not compiled", "compiled")
            self.notes.append(f"what was {before} before is {now} on this machine: numbers differ by rounding")
        self.losses.terms.load_state_dict(state["extra_terms"])
        self._classes.counts.copy_(state["class_counts"])
        self.log.load_state_dict(state["logbook"])
        counters = state["counters"]
        self.pseudo_batches = counters["pseudo_batches"]
        self.generator_updates = counters["generator_updates"]
        self.student_updates = counters["student_updates"]
        self.training_flops = counters["training_flops"]
        self.last_report = state["last_report"]

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
        """A pseudo batch's random numbers, as ``_learn`` takes them."""
        config = self.config
        further = config.student_steps if config.latents == "fresh" else 0
        shape = (config.batch_size, config.latent_dim)
        # One draw after the other: a single larger one gives other numbers.
        latents = [torch.randn(shape, generator=self._latent_stream, dtype=self.dtype) for _ in range(1 + further)]
        noise = [self.losses.terms.draw(self._image_shape, self.dtype) for _ in range(config.generator_steps)]
        return [send(numbers, self.device) for numbers in (torch.stack(latents), *noise) if numbers is not None]

    def _learn(self, latents: Tensor, *noise: Tensor) -> None:
        """The device's part of a pseudo batch. All that it changes are tensors that stay where they are.

        Args:
            latents: (draws, batch, latent_dim): of the generator's steps, then of each student step that has its own.
            noise: For each generator step where an extra term adds noise to images, in their shape.
        """
        config = self.config
        learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.student.requires_grad_(False)  # its gradients in the generator's step were never used
        self.student.train(config.student_mode_in_generator_step == "train")
        generator_losses, generator_norms, scored = zip(
            *(self._generator_step(latents[0], *noise[step : step + 1]) for step in range(config.generator_steps)),
            strict=True,
        )
        self.student.train()
        for weight in learning:
            weight.requires_grad_(True)

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
        self._classes.add(targets.logits, step.logits)

    def _generator_step(self, latents: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """One update that increases the disagreement; returns loss, gradient norm and images, detached."""
        loss, images = self.losses.generator_loss(latents, noise)
        norm = self._update(self.generator, self.generator_optimizer, loss)
        return loss.detach(), norm, images.detach()

    def _student_step(self, images: Tensor, targets: TeacherTargets) -> tuple[StudentLoss, Tensor]:
        """One update towards the teacher; returns what it came to, detached, and the gradient's norm."""
        found = self.losses.student_loss(images, targets)
        norm = self._update(self.student, self.student_optimizer, found.loss)
        return StudentLoss(*(value.detach() for value in found)), norm

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.gradient_clip_norm
        norm = nn.utils.clip_grad_norm_(network.parameters(), math.inf if limit is None else limit)
        optimizer.step()
        return norm

    def _rate(self, initial: float, pseudo_batch: int) -> float:
        return cosine(initial, pseudo_batch, self.config.horizon)

    def _recorded(self) -> Callable[..., None]:
        """The device's part of a pseudo batch, as a CUDA graph where that is asked for."""
        return Recorded(self._learn) if self.config.cuda_graphs and is_asynchronous(self.device) else self._learn

    def _compile(self) -> None:
        """Compile the losses, if torch can."""
        reason = self.losses.compile()
        self.compiled = reason is None
        if reason:
            self.notes.append(
                f"torch cannot compile here ({reason}), so the trial runs slower and with other rounding; "
                "compilation=never says that this is meant"
            )
