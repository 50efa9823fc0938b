"""Common base of trainings whose student sees pseudo images only: networks, counters, logged means and their state."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from trainables.config import ZeroShotConfig
from trainables.config.datasets import find_normalisation
from trainables.evaluation import DataFreeScorer, ProbeSet, class_balance, class_coverage
from trainables.images.splits import DatasetSplits
from trainables.metrics import DATA_FREE_METRICS, Report
from trainables.networks import Network, build_network
from trainables.seeding import seeded
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.teachers.teacher import Teacher
from trainables.training.attention import compared_layers, watch_layers
from trainables.training.matching import StudentMatching
from trainables.training.protocol import Training, TrainingInputs
from trainables.training.reports import TrainingLog

MEANS = (
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
"""Metrics that reports give as means, in the order of the arguments of ``TrainingLog.means.add``."""


class PredictedClasses:
    """Number of pseudo images for which teacher and student predicted each class since the last report."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.counts = torch.zeros(2, num_classes, dtype=torch.int64, device=device)
        """(teacher and student, classes)."""

    def add(self, teacher_logits: Tensor, student_logits: Tensor) -> None:
        """Count images by the class with the highest logit; both logits are (batch, classes)."""
        predicted = torch.stack([teacher_logits.argmax(1), student_logits.argmax(1)])
        classes = torch.arange(self.counts.shape[1], device=self.counts.device)
        self.counts += (predicted.unsqueeze(2) == classes).sum(1)

    def take(self) -> Report:
        """Return the metrics of the counts for a report, and set the counts to 0."""
        teacher_entropy, student_entropy = map(class_balance, self.counts)
        coverage = class_coverage(*self.counts)
        self.counts.zero_()
        return {
            "teacher_class_entropy": teacher_entropy,
            "student_class_entropy": student_entropy,
            "class_coverage": coverage,
        }


class PseudoImageTraining(Training, ABC):
    """Training of a student on pseudo images: belief matching, or another data-free method."""

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
        """Build student and teacher, and set all counters to 0.

        Args:
            config: The trial's settings.
            teacher: Weights for ``config.teacher`` on ``config.dataset``.
            splits: Images on which accuracies are measured. The training part is not used.
            probe: Probe set of the teacher, for ``data_free_scores``.
            device: Device of networks and images.
            dtype: Type of weights and images. float64 is for comparisons between implementations.
            clock: Clock by which training and evaluation are timed.

        Raises:
            ValueError: data-free scores without a probe set, or attention layers that a network does not have.
        """
        spec = config.spec
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = find_normalisation(config.normalisation or config.dataset)
        self.splits = splits.measured_on(self.device)
        self.generator_seed = config.seed if config.generator_seed is None else config.generator_seed
        """Seed of the source of the pseudo images, and of all random numbers drawn for the images."""
        self.student_seed = config.seed if config.student_seed is None else config.student_seed
        teacher_network = teacher.build()
        with seeded(self.student_seed, "student"):
            student = build_network(config.student, **spec.shapes)
        watch_layers(student, config.student_attention_layers, spec.image_shape, name=config.student)
        watch_layers(teacher_network, config.teacher_attention_layers, spec.image_shape, name=config.teacher)
        self.student = student.to(self.device, dtype).train()
        self.teacher = teacher_network.to(self.device, dtype).requires_grad_(False).eval()
        self.learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        """Weights of the student that are trained: all but those that the student's builder froze."""
        self.scores = _data_free_scores(config, probe, self.teacher)
        """Function that returns a student's data-free scores. All scores are None unless ``data_free_scores`` is set."""
        self.pseudo_batches = 0
        self.generator_updates = 0
        self.student_updates = 0
        self.training_flops = 0
        self.classes = PredictedClasses(spec.num_classes, self.device)
        self.log = TrainingLog(MEANS, self.student, clock=clock)
        self.last_report = None
        self.compiled = False
        self.notes = []
        if config.precision == "tf32" and self.device.type != "cuda":
            self.notes.append("precision=tf32 has no effect on a CPU, which computes in float32; TF32 needs a GPU")

    @classmethod
    def build(cls, config: ZeroShotConfig, inputs: TrainingInputs, device: torch.device) -> Self:
        assert inputs.teacher is not None  # configs of data-free methods always name a teacher
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

    def attention_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of activations that attention transfer compares; see ``compared_layers``."""
        config = self.config
        return compared_layers(
            self.student,
            self.teacher,
            config.spec.image_shape,
            weight=config.attention_weight,
            names=(config.student, config.teacher),
            layers=config.attention_layers,
        )

    def compile(self, losses: StudentMatching) -> None:
        """Compile the losses if the config asks for compilation; if torch cannot, add a note with the reason."""
        if not self.config.compiles_on(self.device.type):
            return
        reason = losses.compile()
        self.compiled = reason is None
        if reason:
            self.notes.append(
                f"torch cannot compile here ({reason}), so the trial runs slower and with other rounding; "
                "compilation=never says that this is meant"
            )

    @contextmanager
    def looking_only(self, student: Network) -> Iterator[None]:
        """Freeze the student's weights within the block, in the mode that ``student_mode_in_generator_step`` names.

        Only gradients with respect to the images are needed there. Afterwards the student is in train mode.
        """
        student.requires_grad_(False)
        student.train(self.config.student_mode_in_generator_step == "train")
        try:
            yield
        finally:
            student.train()
            for weight in self.learning:
                weight.requires_grad_(True)

    def counted(self, entry: Report, **rates: float) -> Report:
        """Return the complete report: counters, rates of the last pseudo batch, class counts and the log's measurements."""
        return {
            "pseudo_batches": self.pseudo_batches,
            "generator_updates": self.generator_updates,
            "student_updates": self.student_updates,
            "training_flops": float(self.training_flops),
            **rates,
            **self.classes.take(),
            **entry,
        }

    def common_state(self) -> dict[str, Any]:
        """Return the part of ``state_dict`` that all trainings on pseudo images share."""
        return {
            "config": self.config.model_dump(),
            "compiled": self.compiled,
            "class_counts": self.classes.counts,
            "counters": {
                "pseudo_batches": self.pseudo_batches,
                "generator_updates": self.generator_updates,
                "student_updates": self.student_updates,
                "training_flops": self.training_flops,
            },
            "logbook": self.log.state_dict(),
            "last_report": self.last_report,
        }

    def restore_common(self, state: Mapping[str, Any]) -> None:
        """Restore the state that ``common_state`` returned, and add a note if compilation differs from then."""
        if state["compiled"] != self.compiled:
            before, now = ("compiled", "not compiled") if state["compiled"] else ("not compiled", "compiled")
            self.notes.append(f"the trial was {before} before and is {now} on this machine: numbers differ by rounding")
        self.classes.counts.copy_(state["class_counts"])
        self.log.load_state_dict(state["logbook"])
        counters = state["counters"]
        self.pseudo_batches = counters["pseudo_batches"]
        self.generator_updates = counters["generator_updates"]
        self.student_updates = counters["student_updates"]
        self.training_flops = counters["training_flops"]
        self.last_report = state["last_report"]


def clipped_norm(network: nn.Module, limit: float | None) -> Tensor:
    """Clip a network's gradients to an L2 norm and return their norm before clipping, a scalar; None means no limit."""
    return nn.utils.clip_grad_norm_(network.parameters(), float("inf") if limit is None else limit)


def diversity(images: Tensor) -> Tensor:
    """Return the diversity of images, about 0 to 1; 0 if all images are alike.

    The standard deviation between images, mean over pixels, divided by the standard deviation over images and positions,
    mean over channels.
    """
    return images.std(0).mean() / images.std((0, 2, 3)).mean().clamp_min(1e-12)


def _data_free_scores(config: ZeroShotConfig, probe: ProbeSet | None, teacher: Network) -> Callable[[Network], Report]:
    if not config.data_free_scores:
        return lambda student: dict.fromkeys(DATA_FREE_METRICS)
    if probe is None:
        raise ValueError(
            "data_free_scores=true: needs the teacher's probe set; trainables.teachers.probe_set.make_probe makes it"
        )
    return DataFreeScorer(probe, teacher).score
