"""Table of all metrics that trials report, from which the results schema and the reference page are made.

Imports no torch, so that results can be read without torch. Metrics that a trial's method does not have are null.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

HeldOut = Literal["validation", "test"]
Report = dict[str, int | float | bool | None]
"""Report of a trial: a value for each of ``METRICS`` that the trial's method has, by name."""

TEACHER_CHECK_IMAGES = 1000
"""Number of test images on which each trial measures its teacher, to check the teacher's recorded accuracy."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Metric of a trial. ``kind`` is the column's type; ``unit`` is the unit in words, with the range if it is bounded."""

    name: str
    kind: type[int] | type[float] | type[bool]
    unit: str
    description: str
    methods: tuple[str, ...] = ()
    """Methods whose trials report the metric, as do methods that extend them. Empty means all methods."""
    at_end: bool = False
    """Whether only the last report of a trial with ``transition_images`` has the metric."""
    lower_is_better: bool = False
    """Whether a search minimises the metric by default: true for errors, divergences and costs."""
    asked_by: str | None = None
    """Field of a trial that turns the metric on, set by a search that selects on it. None means always on."""
    measured_on: HeldOut | None = None
    """Split of held-out real images that the metric is measured on; a metric on ``test`` is an audit. None means that no
    held-out image is read."""
    measured_by: str | None = None
    """``MODULE:NAME`` of a function that measures the metric at each report and leaves the training unchanged. None means
    that the method's training measures the metric."""

    def is_reported_by(self, methods: Collection[str]) -> bool:
        """Return whether trials of a method report the metric.

        Args:
            methods: Names of the method and of the methods that it extends, see ``TrialConfig.method_names``.
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
        description="Forward passes of the teacher in training so far, counted per image.",
        methods=_DATA_FREE,
        lower_is_better=True,
    ),
    Metric(
        name="pool_images",
        kind=int,
        unit="count",
        description="Number of pseudo images in the pool; 0 without a pool.",
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
        description="Floating-point operations of the networks in training so far, counted without redundant work: the "
        "machine-independent cost of a trial.",
        methods=_ZERO_SHOT,
        lower_is_better=True,
    ),
    Metric(
        name="validation_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the validation part of the training split, which a sweep may select on. "
        "Null if validation_fraction is 0 or audited is false.",
        measured_on="validation",
    ),
    Metric(
        name="test_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the test split: an audit, not read by samplers, early stopping or "
        "selection unless the sweep allows test selection. Null if audited is false.",
        measured_on="test",
    ),
    Metric(
        name="test_evaluations",
        kind=int,
        unit="count",
        description="Number of times that the student has been measured on the test split so far.",
    ),
    _data_free(
        "data_free_score",
        "share in [0, 1]",
        "Mean of confident_agreement, mixed_agreement and noisy_agreement, which a sweep without real images may select on.",
    ),
    _data_free(
        "confident_agreement",
        "share in [0, 1]",
        "Share of the confident probe images on which student and teacher predict the same class. The teacher is sure of "
        "these images, which are made by gradient descent, equally many for each class.",
    ),
    _data_free("mixed_agreement", "share in [0, 1]", "Like confident_agreement, on blends of two confident images."),
    _data_free("noisy_agreement", "share in [0, 1]", "Like confident_agreement, on confident images with noise added."),
    _data_free("noise_agreement", "share in [0, 1]", "Like confident_agreement, on images of smooth noise alone."),
    _data_free(
        "probe_divergence",
        "nats",
        "KL(teacher || student) at temperature 1, summed over the classes, mean over the probe images of data_free_score.",
        lower_is_better=True,
    ),
    _data_free(
        "probe_overlap",
        "share in [0, 1]",
        "Share of the teacher's three most probable classes among the student's three, on the images of data_free_score.",
    ),
    _data_free(
        "probe_calibration_error",
        "share in [0, 1]",
        "Absolute difference between the student's mean confidence on the probe images of data_free_score and that score.",
        lower_is_better=True,
    ),
    _data_free(
        "probe_class_entropy",
        "share in [0, 1]",
        "Entropy of the student's class histogram on the confident probe images, divided by the maximum entropy; the "
        "teacher's value is 1.",
    ),
    _data_free(
        "probe_transition_error",
        "share in [0, 1]",
        "Mean absolute difference of student's and teacher's probability of the target class, on paths along which "
        "confident probe images are pushed to another class by the teacher's gradient.",
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
        description="Mean absolute difference of student's and teacher's transition curves (section 4), with the student "
        "attacked, at the end of a trial with transition_images; else null.",
        at_end=True,
        lower_is_better=True,
        measured_on="test",
    ),
    Metric(
        name="mean_transition_error_low",
        kind=float,
        unit="share in [0, 1]",
        description="Lower end of the 95 % interval of mean_transition_error over images.",
        at_end=True,
        measured_on="test",
    ),
    Metric(
        name="mean_transition_error_high",
        kind=float,
        unit="share in [0, 1]",
        description="Upper end of the 95 % interval of mean_transition_error over images.",
        at_end=True,
        measured_on="test",
    ),
    _of_student("student_parameters", int, "count", "Number of trainable weights and biases of the student."),
    _of_student(
        "student_flops",
        float,
        "FLOP",
        "Operations of the student's convolutions and matrix products in a forward pass over one image; a multiplication "
        "and an addition count as two.",
    ),
    _of_student(
        "student_latency",
        float,
        "s",
        "Median time of the student's forward pass over one image on the trial's cores or GPU, in eval mode, with "
        "student_timed; else null. Other load on the machine increases the time.",
        asked_by="student_timed",
    ),
    _of_student("student_latency_128", float, "s", "Like student_latency, for 128 images.", asked_by="student_timed"),
    _of_loop(
        "generator_loss",
        "nats per class",
        "Loss of the generator steps, mean since the last report; with published settings the negative KL divergence.",
    ),
    Metric(
        name="student_loss",
        kind=float,
        unit="nats per class",
        description="The student's total loss, mean since the last report; in zero-shot trials only the last student step "
        "of each pseudo batch counts.",
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
        description="The divergence in student_loss, without its weight; with published settings KL(teacher || student). "
        "Cannot rank the settings of zero-shot trials, since each trial measures it on images of its own.",
        lower_is_better=True,
    ),
    Metric(
        name="attention_transfer",
        kind=float,
        unit="squared distance",
        description="The attention transfer in student_loss, without its weight; 0 if attention_weight is 0.",
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
        "Entropy of the teacher's class histogram on pseudo images since the last report, divided by the maximum entropy: 1 "
        "is uniform, 0 a single class.",
    ),
    _of_loop(
        "student_class_entropy", "share in [0, 1]", "Like teacher_class_entropy, of the student in its last step."
    ),
    _of_loop(
        "class_coverage",
        "share in [0, 1]",
        "Number of pseudo images since the last report in which the student predicts a class, divided by the number in "
        "which the teacher does: the smallest ratio among the classes that the teacher predicts for at least 1 % of the "
        "images, at most 1. 0 means that the student never predicts one of these classes.",
    ),
    _of_loop(
        "image_diversity",
        "share, about 1",
        "Standard deviation of pixels between the pseudo images of a batch, divided by that over the whole batch: 0 if all "
        "images are equal; mean since the last report.",
    ),
    _of_loop(
        "generator_gradient_norm",
        "L2 norm",
        "Generator's gradient norm before clipping, mean since the last report; 0 means that the generator cannot learn.",
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
        description="Wall time in optimizer updates so far, summed over all processes that have run the trial.",
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
"""Names of the metrics measured on the probe set; null in trials without ``data_free_scores``."""

AUDITS = frozenset(metric.name for metric in METRICS if metric.measured_on == "test")
"""Names of the metrics measured on test images, which nothing should be selected on."""

LOWER_IS_BETTER = frozenset(metric.name for metric in METRICS if metric.lower_is_better)
"""Names of the metrics that a search minimises by default: errors, divergences and costs."""


TIMES = frozenset(metric.name for metric in METRICS if metric.unit == "s")
"""Names of the metrics that may differ between two runs with otherwise equal numbers."""


def is_share(name: str) -> bool:
    """Return whether a metric is a share, which tables show in percent."""
    return any(metric.name == name and metric.unit.startswith("share") for metric in METRICS)


def finite(value: object) -> float | None:
    """Return a metric's value as a float if it is a finite number; else None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
