"""What the log of a training notes that sees no real image: classes and diversity of its pseudo images, data-free scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.config import ZeroShotConfig
from trainables.evaluation import DataFreeScorer, ProbeSet, class_balance, class_coverage
from trainables.metrics import DATA_FREE_METRICS, Report
from trainables.networks import Network


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


def diversity(images: Tensor) -> Tensor:
    """Return how much of the images' variation lies between them, in [0, 1]: 0 where all are alike."""
    return images.std(0).mean() / images.std((0, 2, 3)).mean().clamp_min(1e-12)


def data_free_scores(config: ZeroShotConfig, probe: ProbeSet | None, teacher: Network) -> Callable[[Network], Report]:
    """Return what scores a student on images made from its teacher: null where a config does not ask for that.

    Raises:
        ValueError: it does, and there are no such images.
    """
    if not config.data_free_scores:
        return lambda student: dict.fromkeys(DATA_FREE_METRICS)
    if probe is None:
        raise ValueError(
            "data_free_scores=true: needs the teacher's probe set; trainables.teachers.probe_set.make_probe makes it"
        )
    return DataFreeScorer(probe, teacher).score
