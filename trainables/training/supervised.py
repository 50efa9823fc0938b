"""Training on labelled images (section 3): teachers, students from scratch, KD+AT, and fine-tuning.

SGD with momentum and weight decay, step decay, random crops and flips where the data set has them. With a teacher the
loss is the published one of the few-shot baseline,

    (1 - a) cross-entropy + 2 a T^2 KL + sum over layers of b 3/layers (attention transfer of that layer),

with the KL divided by batch *and* classes, so that with 10 classes the distillation term is a fifth of the customary
a T^2 KL. The result is the student after the last epoch; no earlier epoch is selected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config import SupervisedConfig
from trainables.config.datasets import find_normalisation
from trainables.images.crops import MARGIN, crop
from trainables.images.splits import DatasetSplits, ImageSet, normalise
from trainables.metrics import Report
from trainables.networks import build_network
from trainables.seeding import seeded, stream
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.attention import compared_layers
from trainables.training.losses import attention_map, attention_transfer, kl_divergence, log_probabilities
from trainables.training.protocol import Training, TrainingInputs, load_optimizer, set_rate
from trainables.training.reports import TrainingLog
from trainables.training.schedules import step_decay

_MEANS = ("student_loss", "cross_entropy", "divergence", "attention_transfer")


class SupervisedTrainer(Training):
    """Training of one network on labelled images, with or without a teacher."""

    config: SupervisedConfig

    def __init__(
        self,
        config: SupervisedConfig,
        *,
        splits: DatasetSplits,
        teacher: Teacher | None = None,
        initial_weights: Mapping[str, Tensor] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Build the initial state.

        Args:
            config: The trial's settings.
            splits: Images for training and evaluation.
            teacher: Weights for ``config.teacher``. None if the config names no teacher.
            initial_weights: Weights of ``config.student`` to start from. Defaults to fresh ones.
            device: Device of networks and images.
            dtype: Type of weights and images.
            clock: Clock by which training and evaluation are timed.

        Raises:
            ValueError: a class has fewer images than ``config.images_per_class``, or attention transfer between networks
                without matching activations.
        """
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = find_normalisation(config.normalisation or config.dataset)
        with seeded(config.seed, "supervised"):
            student = build_network(config.student, **splits.spec.shapes)
        if initial_weights is not None:
            student.load_state_dict(dict(initial_weights))
        self.student = student.to(self.device, dtype).train()
        self.teacher = None
        if teacher:
            self.teacher = teacher.build().to(self.device, dtype).requires_grad_(False).eval()
            self._attention_pairs = compared_layers(
                self.student,
                self.teacher,
                splits.spec.image_shape,
                weight=config.attention_weight,
                names=(config.student, teacher.metadata.network),
            )
        self.optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.splits = splits.measured_on(self.device)
        self._augment = splits.spec.augment
        self._train = subsample_per_class(splits.train, config.images_per_class, config.seed).to(self.device)
        self._order_stream = stream(config.seed, "order")
        self._augmentation_stream = stream(config.seed, "augmentation")
        self._order = torch.arange(0)
        """Indices of the training images that are left in the current epoch."""
        self.epochs = 0
        self.student_updates = 0
        self.log = TrainingLog(_MEANS, self.student, clock=clock)
        self.last_report = None
        self.compiled = False
        self.notes = []

    @classmethod
    def build(cls, config: SupervisedConfig, inputs: TrainingInputs, device: torch.device) -> Self:
        return cls(
            config,
            splits=inputs.splits,
            teacher=inputs.teacher,
            initial_weights=inputs.initial_weights,
            device=device,
            clock=inputs.clock,
        )

    @property
    def done(self) -> int:
        return self.epochs

    def step(self) -> None:
        with (
            self.log.training(self.student),
            seeded(self.config.seed, f"update {self.student_updates}", self.device),
        ):
            self.update()

    def report(self) -> Report:
        self.last_report = {
            "epochs": self.epochs,
            "student_updates": self.student_updates,
            "student_lr": self._rate(max(0, self.epochs - 1)),
            **self.log.report(self, self.student),
        }
        return self.last_report

    def state_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(),
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "order_stream": self._order_stream.get_state(),
            "augmentation_stream": self._augmentation_stream.get_state(),
            "order": self._order,
            "counters": {
                "epochs": self.epochs,
                "student_updates": self.student_updates,
            },
            "logbook": self.log.state_dict(),
            "last_report": self.last_report,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        load_optimizer(self.optimizer, state["optimizer"])
        self._order_stream.set_state(state["order_stream"])
        self._augmentation_stream.set_state(state["augmentation_stream"])
        self._order = state["order"]
        self.log.load_state_dict(state["logbook"])
        counters = state["counters"]
        self.epochs = counters["epochs"]
        self.student_updates = counters["student_updates"]
        self.last_report = state["last_report"]

    def update(self) -> None:
        """Do one optimizer update; the last update of an epoch increments ``epochs``."""
        if len(self._order) == 0:
            self._order = torch.randperm(len(self._train), generator=self._order_stream)
        size = self.config.batch_size
        if len(self._order) == size + 1:
            size += (
                1  # no batch of one image is left over: BatchNorm fails on one image where an activation is one pixel
            )
        batch, self._order = self._order.tensor_split([size])
        indices = batch.to(self.device)
        images = self._train.images[indices]
        if self._augment:
            images = crop_and_flip(images, self._augmentation_stream)
        set_rate(self.optimizer, self._rate(self.epochs))
        loss = self._loss(normalise(images, self.normalisation, self.dtype), self._train.labels[indices])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.student_updates += 1
        if len(self._order) == 0:
            self.epochs += 1

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        logits, activations = self.student(images)
        cross_entropy = F.cross_entropy(logits, labels)
        loss, distance, attention = cross_entropy, torch.zeros_like(cross_entropy), torch.zeros_like(cross_entropy)
        if self.teacher is not None:
            config = self.config
            with torch.no_grad():
                teacher_logits, teacher_activations = self.teacher(images)
            distance = kl_divergence(
                log_probabilities(logits, config.temperature), log_probabilities(teacher_logits, config.temperature)
            )
            share = config.distillation_weight
            loss = (1 - share) * cross_entropy + 2 * share * config.temperature**2 * distance
            if config.attention_weight > 0:
                attention = attention_transfer(
                    [attention_map(activations[layer]) for layer, _ in self._attention_pairs],
                    [attention_map(teacher_activations[layer]) for _, layer in self._attention_pairs],
                )
                loss = loss + config.attention_weight * 3 / len(self._attention_pairs) * attention
        self.log.means.add(loss.detach(), cross_entropy.detach(), distance.detach(), attention.detach())
        return loss

    def _rate(self, epoch: int) -> float:
        return step_decay(self.config.learning_rate, epoch, self.config.milestones)


def subsample_per_class(data: ImageSet, images_per_class: int | None, seed: int) -> ImageSet:
    """Return the first M images of each class in a seeded shuffle, which differ from seed to seed; None means all images.

    Raises:
        ValueError: a class has fewer than M images.
    """
    if images_per_class is None:
        return data
    order = torch.randperm(len(data), generator=stream(seed, "few images"))
    chosen = []
    for label in data.labels.unique(sorted=True):
        members = order[data.labels[order] == label]
        if len(members) < images_per_class:
            raise ValueError(
                f"images_per_class={images_per_class}: class {label} has {len(members)} training images; allowed: "
                f"1 to {len(members)}, or none for all"
            )
        chosen.append(members[:images_per_class])
    return data.subset(torch.cat(chosen))


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return random crops of the old size after padding by 4, half of them flipped horizontally.

    ``images`` are raw pixels (batch, channels, height, width), so that the padding is black, as in the published recipe.
    """
    batch = len(images)
    top = torch.randint(2 * MARGIN + 1, (batch,), generator=generator).to(images.device)
    left = torch.randint(2 * MARGIN + 1, (batch,), generator=generator).to(images.device)
    mirrored = (torch.rand(batch, generator=generator) < 0.5).to(images.device)
    return crop(images, top, left, mirrored)
