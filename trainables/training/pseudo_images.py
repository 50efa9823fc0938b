"""What trainings have in common whose student sees pseudo images alone: networks, counts, and what their logs note."""

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
"""Metrics that reports give as means, in the order in which ``TrainingLog.means`` takes them."""


class PredictedClasses:
    """How often teacher and student have taken pseudo images for each class since the last report."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.counts = torch.zeros(2, num_classes, dtype=torch.int64, device=device)
        """(teacher and student, classes)."""

    def add(self, teacher_logits: Tensor, student_logits: Tensor) -> None:
        """Count images by the highest class of logits (batch, classes)."""
        predicted = torch.stack([teacher_logits.argmax(1), student_logits.argmax(1)])
        classes = torch.arange(self.counts.shape[1], device=self.counts.device)
        self.counts += (predicted.unsqueeze(2) == classes).sum(1)

    def take(self) -> Report:
        """Return what a report says of them, and begin anew."""
        teacher_entropy, student_entropy = map(class_balance, self.counts)
        coverage = class_coverage(*self.counts)
        self.counts.zero_()
        return {
            "teacher_class_entropy": teacher_entropy,
            "student_class_entropy": student_entropy,
            "class_coverage": coverage,
        }


class PseudoImageTraining(Training, ABC):
    """A training of a student on pseudo images: belief matching, or another data-free method."""

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
        """Build student and teacher, and begin to count.

        Args:
            config: The trial's settings.
            teacher: Weights for ``config.teacher`` on ``config.dataset``.
            splits: Images to measure accuracies on. The training part is not touched.
            probe: Images made from the teacher, on which ``data_free_scores`` are found.
            device: Where everything lives.
            dtype: Of weights and images; float64 serves comparisons between implementations.
            clock: Times training and evaluation.

        Raises:
            ValueError: scores are asked for without a probe, or layers that a network has not.
        """
        spec = config.spec
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalisation = find_normalisation(config.normalisation or config.dataset)
        self.splits = splits.measured_on(self.device)
        self.generator_seed = config.seed if config.generator_seed is None else config.generator_seed
        """Of what makes the images, and of all that is drawn for them."""
        self.student_seed = config.seed if config.student_seed is None else config.student_seed
        teacher_network = teacher.build()
        with seeded(self.student_seed, "student"):
            student = build_network(config.student, **spec.shapes)
        watch_layers(student, config.student_attention_layers, spec.image_shape, name=config.student)
        watch_layers(teacher_network, config.teacher_attention_layers, spec.image_shape, name=config.teacher)
        self.student = student.to(self.device, dtype).train()
        self.teacher = teacher_network.to(self.device, dtype).requires_grad_(False).eval()
        self.learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        """Weights that learn; what the student's builder froze stays as it is."""
        self.scores = _data_free_scores(config, probe, self.teacher)
        """Scores a student on images made from the teacher: null where that is not asked for."""
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
            self.notes.append("precision=tf32 is of GPUs; on a CPU it is float32")

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

    def attention_pairs(self) -> list[tuple[int, int]]:
        """Return which activations are compared, by index in the student's and the teacher's; see ``compared_layers``."""
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
        """Compile losses where the config asks for that, if torch can; else a note says why not."""
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
        """Look through the student within the block: in the mode that the config says, and without gradients of its weights,
        which were never used there."""
        student.requires_grad_(False)
        student.train(self.config.student_mode_in_generator_step == "train")
        try:
            yield
        finally:
            student.train()
            for weight in self.learning:
                weight.requires_grad_(True)

    def counted(self, entry: Report, **rates: float) -> Report:
        """Return the whole report: the counts so far, what the log has measured, and the rates of the last pseudo batch."""
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
        """Return the part of ``state_dict`` that all have."""
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
        """Put back what ``common_state`` returned."""
        if state["compiled"] != self.compiled:
            before, now = ("compiled", "not compiled") if state["compiled"] else ("not compiled", "compiled")
            self.notes.append(f"what was {before} before is {now} on this machine: numbers differ by rounding")
        self.classes.counts.copy_(state["class_counts"])
        self.log.load_state_dict(state["logbook"])
        counters = state["counters"]
        self.pseudo_batches = counters["pseudo_batches"]
        self.generator_updates = counters["generator_updates"]
        self.student_updates = counters["student_updates"]
        self.training_flops = counters["training_flops"]
        self.last_report = state["last_report"]


def clipped_norm(network: nn.Module, limit: float | None) -> Tensor:
    """Clip a network's gradients to an L2 norm, if there is a limit, and return the norm that they had, a scalar."""
    return nn.utils.clip_grad_norm_(network.parameters(), float("inf") if limit is None else limit)


def diversity(images: Tensor) -> Tensor:
    """Return how much of the images' variation lies between them, in [0, 1]: 0 where all are alike."""
    return images.std(0).mean() / images.std((0, 2, 3)).mean().clamp_min(1e-12)


def _data_free_scores(config: ZeroShotConfig, probe: ProbeSet | None, teacher: Network) -> Callable[[Network], Report]:
    if not config.data_free_scores:
        return lambda student: dict.fromkeys(DATA_FREE_METRICS)
    if probe is None:
        raise ValueError(
            "data_free_scores=true: needs the teacher's probe set; trainables.teachers.probe_set.make_probe makes it"
        )
    return DataFreeScorer(probe, teacher).score
