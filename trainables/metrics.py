"""Every metric that a trial reports, in one table: the results schema and the reference page are made from it.

Free of torch, so that a reader of results need not install it. A metric that a trial's method does not have is null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Method = Literal["zero_shot", "supervised"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``kind`` is the column's type; ``unit`` is in words, with the range where there is one."""

    name: str
    kind: type[int] | type[float] | type[bool]
    unit: str
    description: str
    methods: tuple[Method, ...] = ("zero_shot", "supervised")
    at_end: bool = False
    """Whether only a trial's last report has it, and that only with ``transition_images``."""


_ZERO_SHOT: tuple[Method, ...] = ("zero_shot",)
_SUPERVISED: tuple[Method, ...] = ("supervised",)

METRICS: tuple[Metric, ...] = (
    Metric(
        name="pseudo_batches",
        kind=int,
        unit="count",
        description="Pseudo batches done: the budget used by a zero-shot trial.",
        methods=_ZERO_SHOT,
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
    ),
    Metric(
        name="validation_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the validation part of the training split; what a study may select on. "
        "Null where validation_fraction is 0.",
    ),
    Metric(
        name="test_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the test split: an audit that no search, early stopping or choice reads.",
    ),
    Metric(
        name="test_evaluations",
        kind=int,
        unit="count",
        description="How often the student has been measured on the test split so far.",
    ),
    Metric(
        name="mean_transition_error",
        kind=float,
        unit="share in [0, 1]",
        description="Mean gap of student's and teacher's transition curves (section 4), student attacked, at the end of a "
        "trial with transition_images; else null.",
        at_end=True,
    ),
    Metric(
        name="mean_transition_error_low",
        kind=float,
        unit="share in [0, 1]",
        description="Lower end of its 95 % interval over images.",
        at_end=True,
    ),
    Metric(
        name="mean_transition_error_high",
        kind=float,
        unit="share in [0, 1]",
        description="Upper end of its 95 % interval over images.",
        at_end=True,
    ),
    Metric(
        name="generator_loss",
        kind=float,
        unit="nats per class",
        description="Loss of the generator steps, as published the negative KL divergence; mean since the last report.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="student_loss",
        kind=float,
        unit="nats per class",
        description="The student's whole loss, mean since the last report; of zero-shot trials that of each pseudo batch's "
        "last student step.",
    ),
    Metric(
        name="cross_entropy",
        kind=float,
        unit="nats",
        description="Cross-entropy with the labels, mean since the last report.",
        methods=_SUPERVISED,
    ),
    Metric(
        name="divergence",
        kind=float,
        unit="nats per class",
        description="The divergence in student_loss before its weight, as published KL(teacher || student). Of zero-shot "
        "trials it cannot rank settings: each measures it on its own images.",
    ),
    Metric(
        name="attention_transfer",
        kind=float,
        unit="squared distance",
        description="The attention part of student_loss before its weight; 0 where attention_weight is 0.",
    ),
    Metric(
        name="teacher_confidence",
        kind=float,
        unit="share in [0, 1]",
        description="Teacher's highest probability on pseudo images, mean since the last report.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="student_confidence",
        kind=float,
        unit="share in [0, 1]",
        description="Student's highest probability on pseudo images at the last student step, mean since the last report.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="teacher_class_entropy",
        kind=float,
        unit="share in [0, 1]",
        description="Entropy of the teacher's class histogram on pseudo images since the last report, over its largest "
        "possible value: 1 is uniform, 0 a single class.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="student_class_entropy",
        kind=float,
        unit="share in [0, 1]",
        description="The same of the student's classes at the last student step.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="image_diversity",
        kind=float,
        unit="share, about 1",
        description="Standard deviation of pseudo images between the images of a batch, over that within the batch: 0 "
        "where all images are alike; mean since the last report.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="generator_gradient_norm",
        kind=float,
        unit="L2 norm",
        description="Generator's gradient norm before clipping, mean since the last report; 0 means nothing to learn from.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="student_gradient_norm",
        kind=float,
        unit="L2 norm",
        description="Student's gradient norm before clipping at the last student step, mean since the last report.",
        methods=_ZERO_SHOT,
    ),
    Metric(
        name="generator_lr",
        kind=float,
        unit="rate",
        description="Generator's learning rate in the last pseudo batch.",
        methods=_ZERO_SHOT,
    ),
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
    ),
    Metric(name="evaluation_seconds", kind=float, unit="s", description="Wall time in measuring accuracy so far."),
)


def is_share(name: str) -> bool:
    """Whether a metric is a share, which tables show in percent."""
    return any(metric.name == name and metric.unit.startswith("share") for metric in METRICS)


def finite(value: object) -> float | None:
    """A metric's value, if it is a number and neither infinite nor NaN."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
