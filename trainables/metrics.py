"""Every metric that a trial reports, in one table: the results schema and the reference page are made from it.

Free of torch, so that a reader of results need not install it. A metric that a trial's method does not have is null.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

HeldOut = Literal["validation", "test"]
Report = dict[str, int | float | bool | None]
"""One value for each of ``METRICS`` that the trial's method has."""

TEACHER_CHECK_IMAGES = 1000
"""Test images on which each trial measures its teacher, to see that it is the one that was recorded."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``kind`` is the column's type; ``unit`` is in words, with the range where there is one."""

    name: str
    kind: type[int] | type[float] | type[bool]
    unit: str
    description: str
    methods: tuple[str, ...] = ()
    """Methods whose trials report it, with those that extend them; none named: all."""
    at_end: bool = False
    """Whether only a trial's last report has it, and that only with ``transition_images``."""
    lower_is_better: bool = False
    """Whether a search on it looks for the smallest value where nothing is said: of errors, divergences and costs."""
    asked_by: str | None = None
    """Field of a trial that must be on for it; None: it is always reported. A search that selects on it turns that on."""
    measured_on: HeldOut | None = None
    """The real images, of those that no student is trained on, that it is measured on; none: it reads none of them. What
    is measured on ``test`` is an audit."""
    measured_by: str | None = None
    """``MODULE:NAME`` of what finds it at each report, a function of the training that leaves no trace in it; None: the
    method's training finds it."""

    def is_reported_by(self, methods: Collection[str]) -> bool:
        """Return whether trials of a method report it.

        Args:
            methods: The method's name and those that it extends, see ``TrialConfig.method_names``.
        """
        return not self.methods or not set(methods).isdisjoint(self.methods)


_ZERO_SHOT = ("zero_shot",)
_DATA_FREE = ("data_free",)
_SUPERVISED = ("supervised",)


def _data_free(name: str, unit: str, description: str, *, lower_is_better: bool = False) -> Metric:
    return Metric(
        name=name,
        kind=float,
        unit=unit,
        description=description,
        methods=_ZERO_SHOT,
        lower_is_better=lower_is_better,
        asked_by="data_free_scores",
    )


def _of_loop(name: str, unit: str, description: str) -> Metric:
    return Metric(name=name, kind=float, unit=unit, description=description, methods=_ZERO_SHOT)


def _of_student(
    name: str, kind: type[int] | type[float], unit: str, description: str, *, asked_by: str | None = None
) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        description=description,
        lower_is_better=True,
        asked_by=asked_by,
        measured_by=f"trainables.compute.student_size:{name}",
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        name="pseudo_batches",
        kind=int,
        unit="count",
        description="Pseudo batches done: the budget used by a zero-shot trial.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="teacher_looks",
        kind=int,
        unit="count",
        description="Images that the teacher has looked at in training so far, each as often as it did.",
        methods=_DATA_FREE,
        lower_is_better=True,
    ),
    Metric(
        name="pool_images",
        kind=int,
        unit="count",
        description="Pseudo images that the pool holds; 0 where there is none.",
        methods=_DATA_FREE,
    ),
    Metric(
        name="epochs",
        kind=int,
        unit="count",
        description="Epochs done: the budget used by supervised training.",
        methods=_SUPERVISED,
    ),
    Metric(
        name="generator_updates",
        kind=int,
        unit="count",
        description="Optimizer updates of the generator so far.",
        methods=_ZERO_SHOT,
    ),
    Metric(name="student_updates", kind=int, unit="count", description="Optimizer updates of the student so far."),
    Metric(
        name="training_flops",
        kind=float,
        unit="FLOP",
        description="Floating-point operations of the networks in training so far, counted without redundant work: what a "
        "trial costs, whatever machine it runs on.",
        methods=_ZERO_SHOT,
        lower_is_better=True,
    ),
    Metric(
        name="validation_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the validation part of the training split; what a study may select on. "
        "Null where validation_fraction is 0 or audited is false.",
        measured_on="validation",
    ),
    Metric(
        name="test_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the test split: an audit that no search, early stopping or choice reads. "
        "Null where audited is false.",
        measured_on="test",
    ),
    Metric(
        name="test_evaluations",
        kind=int,
        unit="count",
        description="How often the student has been measured on the test split so far.",
    ),
    _data_free(
        "data_free_score",
        "share in [0, 1]",
        "Mean of confident_agreement, mixed_agreement and noisy_agreement: what a study without data may select on.",
    ),
    _data_free(
        "confident_agreement",
        "share in [0, 1]",
        "Share of probe images on which student and teacher name the same class, of images that the teacher is sure of, "
        "made by gradient descent, each class as often.",
    ),
    _data_free("mixed_agreement", "share in [0, 1]", "The same of two such images blended."),
    _data_free("noisy_agreement", "share in [0, 1]", "The same of such images with noise on them."),
    _data_free("noise_agreement", "share in [0, 1]", "The same of smooth noise alone."),
    _data_free(
        "probe_divergence",
        "nats",
        "KL(teacher || student) at temperature 1, summed over the classes, mean over the probe images of data_free_score.",
        lower_is_better=True,
    ),
    _data_free(
        "probe_overlap",
        "share in [0, 1]",
        "Share of the teacher's three likeliest classes that are among the student's three, mean over the same images.",
    ),
    _data_free(
        "probe_calibration_error",
        "share in [0, 1]",
        "Absolute difference between the student's mean confidence on the same images and data_free_score.",
        lower_is_better=True,
    ),
    _data_free(
        "probe_class_entropy",
        "share in [0, 1]",
        "Entropy of the student's class histogram on the images that the teacher is sure of, over its largest possible "
        "value; the teacher's is 1.",
    ),
    _data_free(
        "probe_transition_error",
        "share in [0, 1]",
        "Mean gap of student's and teacher's probability of the class that an image is pushed to, on paths down the "
        "teacher's gradient that start from images it is sure of.",
        lower_is_better=True,
    ),
    _data_free(
        "probe_statistics_distance",
        "squared standard deviations",
        "Distance of the probe images' statistics from the student's BatchNorm running statistics, mean over layers; null "
        "without BatchNorm.",
        lower_is_better=True,
    ),
    Metric(
        name="mean_transition_error",
        kind=float,
        unit="share in [0, 1]",
        description="Mean gap of student's and teacher's transition curves (section 4), student attacked, at the end of a "
        "trial with transition_images; else null.",
        at_end=True,
        lower_is_better=True,
        measured_on="test",
    ),
    Metric(
        name="mean_transition_error_low",
        kind=float,
        unit="share in [0, 1]",
        description="Lower end of its 95 % interval over images.",
        at_end=True,
        measured_on="test",
    ),
    Metric(
        name="mean_transition_error_high",
        kind=float,
        unit="share in [0, 1]",
        description="Upper end of its 95 % interval over images.",
        at_end=True,
        measured_on="test",
    ),
    _of_student("student_parameters", int, "count", "Numbers that the student learns: its weights and biases."),
    _of_student(
        "student_flops",
        float,
        "FLOP",
        "Operations of the student's convolutions and matrix products for one image, forward; a multiplication and an "
        "addition are two.",
    ),
    _of_student(
        "student_latency",
        float,
        "s",
        "Median time of the student for one image on the trial's cores or GPU, in eval mode, with student_timed; else null. "
        "What else the machine does adds to it.",
        asked_by="student_timed",
    ),
    _of_student("student_latency_128", float, "s", "The same for a batch of 128 images.", asked_by="student_timed"),
    _of_loop(
        "generator_loss",
        "nats per class",
        "Loss of the generator steps, as published the negative KL divergence; mean since the last report.",
    ),
    Metric(
        name="student_loss",
        kind=float,
        unit="nats per class",
        description="The student's whole loss, mean since the last report; of zero-shot trials that of each pseudo batch's "
        "last student step.",
        lower_is_better=True,
    ),
    Metric(
        name="cross_entropy",
        kind=float,
        unit="nats",
        description="Cross-entropy with the labels, mean since the last report.",
        methods=_SUPERVISED,
        lower_is_better=True,
    ),
    Metric(
        name="divergence",
        kind=float,
        unit="nats per class",
        description="The divergence in student_loss before its weight, as published KL(teacher || student). Of zero-shot "
        "trials it cannot rank settings: each measures it on its own images.",
        lower_is_better=True,
    ),
    Metric(
        name="attention_transfer",
        kind=float,
        unit="squared distance",
        description="The attention part of student_loss before its weight; 0 where attention_weight is 0.",
        lower_is_better=True,
    ),
    _of_loop(
        "teacher_confidence",
        "share in [0, 1]",
        "Teacher's highest probability on pseudo images, mean since the last report.",
    ),
    _of_loop(
        "student_confidence",
        "share in [0, 1]",
        "Student's highest probability on pseudo images at the last student step, mean since the last report.",
    ),
    _of_loop(
        "teacher_class_entropy",
        "share in [0, 1]",
        "Entropy of the teacher's class histogram on pseudo images since the last report, over its largest possible "
        "value: 1 is uniform, 0 a single class.",
    ),
    _of_loop("student_class_entropy", "share in [0, 1]", "The same of the student's classes at the last student step."),
    _of_loop(
        "class_coverage",
        "share in [0, 1]",
        "How often the student sees a class in pseudo images since the last report, over how often the teacher does: the "
        "smallest ratio among the classes that the teacher sees in at least 1 % of them, at most 1. 0: one of them is "
        "never seen by the student.",
    ),
    _of_loop(
        "image_diversity",
        "share, about 1",
        "Standard deviation of pseudo images between the images of a batch, over that within the batch: 0 where all "
        "images are alike; mean since the last report.",
    ),
    _of_loop(
        "generator_gradient_norm",
        "L2 norm",
        "Generator's gradient norm before clipping, mean since the last report; 0 means nothing to learn from.",
    ),
    _of_loop(
        "student_gradient_norm",
        "L2 norm",
        "Student's gradient norm before clipping at the last student step, mean since the last report.",
    ),
    _of_loop("generator_lr", "rate", "Generator's learning rate in the last pseudo batch."),
    Metric(
        name="student_lr",
        kind=float,
        unit="rate",
        description="Student's learning rate in the last pseudo batch or epoch.",
    ),
    Metric(
        name="running_statistics_shift",
        kind=float,
        unit="relative L2 norm",
        description="Change of the student's BatchNorm running statistics since the last report; null without BatchNorm.",
    ),
    Metric(
        name="student_in_train_mode",
        kind=bool,
        unit="true or false",
        description="Whether the student, with all its parts, was in train mode at the last student step.",
    ),
    Metric(
        name="measured_teacher_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Teacher's accuracy on the first 1,000 test images, measured at the trial's first report; "
        "null without a teacher.",
        measured_on="test",
    ),
    Metric(
        name="diverged",
        kind=bool,
        unit="true or false",
        description="A loss, gradient or weight became infinite or NaN; the trial ends there.",
    ),
    Metric(
        name="training_seconds",
        kind=float,
        unit="s",
        description="Wall time in optimizer updates so far, summed over interruptions.",
        lower_is_better=True,
    ),
    Metric(
        name="evaluation_seconds",
        kind=float,
        unit="s",
        description="Wall time in measuring accuracy so far.",
        lower_is_better=True,
    ),
)


DATA_FREE_METRICS = tuple(metric.name for metric in METRICS if metric.asked_by == "data_free_scores")
"""Found on images made from the teacher alone; null in trials without ``data_free_scores``."""

AUDITS = frozenset(metric.name for metric in METRICS if metric.measured_on == "test")
"""Measured on test images, by which nothing is to be chosen."""

LOWER_IS_BETTER = frozenset(metric.name for metric in METRICS if metric.lower_is_better)
"""Errors, divergences and costs."""


TIMES = frozenset(metric.name for metric in METRICS if metric.unit == "s")
"""What differs between two runs of equal numbers."""


def is_share(name: str) -> bool:
    """Whether a metric is a share, which tables show in percent."""
    return any(metric.name == name and metric.unit.startswith("share") for metric in METRICS)


def finite(value: object) -> float | None:
    """A metric's value, if it is a number and neither infinite nor NaN."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
