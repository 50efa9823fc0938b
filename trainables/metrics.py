"""Every metric that a zero-shot trial reports, in one table: the results schema and the reference page are made from it.

Free of torch, so that a reader of results need not install it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``kind`` is the column's type; ``unit`` is in words, with the range where there is one."""

    name: str
    kind: type[int] | type[float] | type[bool]
    unit: str
    description: str


METRICS: tuple[Metric, ...] = (
    Metric(name="pseudo_batches", kind=int, unit="count", description="Pseudo batches done: the budget used."),
    Metric(name="generator_updates", kind=int, unit="count", description="Optimizer updates of the generator so far."),
    Metric(name="student_updates", kind=int, unit="count", description="Optimizer updates of the student so far."),
    Metric(
        name="validation_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the validation part of the training split; what a study may select on.",
    ),
    Metric(
        name="test_accuracy",
        kind=float,
        unit="share in [0, 1]",
        description="Student's top-1 accuracy on the test split: an audit that no search, early stopping or choice reads.",
    ),
    Metric(
        name="generator_loss",
        kind=float,
        unit="nats per class",
        description="Negative KL divergence of the generator steps, mean since the last report.",
    ),
    Metric(
        name="student_loss",
        kind=float,
        unit="nats per class",
        description="KL divergence plus weighted attention transfer of each pseudo batch's last student step, mean since "
        "the last report.",
    ),
    Metric(
        name="kl_divergence",
        kind=float,
        unit="nats per class",
        description="The KL part of student_loss. It cannot rank settings: each trial measures it on its own images.",
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
    ),
    Metric(
        name="student_confidence",
        kind=float,
        unit="share in [0, 1]",
        description="Student's highest probability on pseudo images at the last student step, mean since the last report.",
    ),
    Metric(
        name="generator_gradient_norm",
        kind=float,
        unit="L2 norm",
        description="Generator's gradient norm before clipping, mean since the last report; 0 means nothing to learn from.",
    ),
    Metric(
        name="student_gradient_norm",
        kind=float,
        unit="L2 norm",
        description="Student's gradient norm before clipping at the last student step, mean since the last report.",
    ),
    Metric(
        name="generator_lr", kind=float, unit="rate", description="Generator's learning rate in the last pseudo batch."
    ),
    Metric(name="student_lr", kind=float, unit="rate", description="Student's learning rate in the last pseudo batch."),
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
        description="Wall time in pseudo batches so far, summed over interruptions.",
    ),
    Metric(name="evaluation_seconds", kind=float, unit="s", description="Wall time in measuring accuracy so far."),
)
