"""Guards: checks of each report for problems that accuracy shows too late or never, each with a remedy.

A guard reads only a report, so that every warning of a run can be found again in the rows of the result store.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.config import AnyTrialConfig
from trainables.metrics import TEACHER_CHECK_IMAGES, Report

ALIKE = 0.05
"""Limit of ``image_diversity`` below which the images of a batch are nearly equal. Healthy generators stay above 0.5."""

ONE_SIDED = 0.25
"""Limit of ``teacher_class_entropy`` below which, with 10 classes, the teacher predicts fewer than two classes."""


NOT_LEARNT = 0.4
"""Limit of ``class_coverage`` at a trial's end below which a class counts as not learnt. Of 17 LeNets on digits, all six
with less than 84 % test accuracy were below, and two of the others."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Check of a report: ``sees`` returns whether something is wrong, ``says`` is a line of warning with the remedy."""

    name: str
    column: str
    sees: Callable[[Report], bool]
    says: str
    at_end: bool = False
    """Whether the guard checks only the last report, at the end of the budget."""


GUARDS: tuple[Guard, ...] = (
    Guard(
        name="non-finite numbers",
        column="diverged",
        sees=lambda report: bool(report["diverged"]),
        says="a loss, gradient or weight is infinite or NaN, and the trial ends: lower the learning rates, or set "
        "gradient_clip_norm=5",
    ),
    Guard(
        name="no adversarial gradient",
        column="generator_gradient_norm",
        sees=lambda report: report.get("generator_gradient_norm") == 0,
        says="the generator's gradient is 0, so it has nothing to learn from: student and teacher agree everywhere, or are "
        "one network; check teacher and student",
    ),
    Guard(
        name="images alike",
        column="image_diversity",
        sees=lambda report: _below(report, "image_diversity", ALIKE),
        says="the generator has collapsed, its images are all but equal: lower generator_lr or generator_steps, or start "
        "again with another seed",
    ),
    Guard(
        name="one class",
        column="teacher_class_entropy",
        sees=lambda report: _below(report, "teacher_class_entropy", ONE_SIDED),
        says="the generator has collapsed, the teacher sees one or two classes in its images: lower generator_lr or "
        "generator_steps, or check that the teacher's normalisation is right",
    ),
    Guard(
        name="student in eval mode",
        column="student_in_train_mode",
        sees=lambda report: report["student_in_train_mode"] is False,
        says="the student was trained in eval mode, which costs points of accuracy: call student.train() after measuring it",
    ),
    Guard(
        name="running statistics at rest",
        column="running_statistics_shift",
        sees=lambda report: report["running_statistics_shift"] == 0,
        says="the student's BatchNorm statistics do not change, so its accuracy is measured with outdated statistics: check "
        "that its BatchNorm layers are in train mode and have a momentum",
    ),
    Guard(
        name="class not learnt",
        column="class_coverage",
        sees=lambda report: _below(report, "class_coverage", NOT_LEARNT),
        says="the trial ends and its student hardly ever sees one of the classes that the teacher sees in pseudo images, so "
        "it has not learnt that class: raise total_pseudo_batches, or start again with another seed",
        at_end=True,
    ),
)


def findings(config: AnyTrialConfig, report: Report, *, recorded_teacher_accuracy: float | None) -> dict[str, str]:
    """Return the warnings that a report causes, by name of the guard.

    Args:
        config: Settings of the trial.
        report: Newest report of the trial.
        recorded_teacher_accuracy: Test accuracy that is recorded with the teacher's weights. None if there is no teacher or
            no recorded accuracy.
    """
    ended = (report[config.unit] or 0) >= config.budget
    found = {guard.name: guard.says for guard in GUARDS if (ended or not guard.at_end) and guard.sees(report)}
    measured = report["measured_teacher_accuracy"]
    if (
        recorded_teacher_accuracy is not None
        and measured is not None
        and not _plausible(measured, recorded_teacher_accuracy)
    ):
        found["another teacher"] = (
            f"the teacher gets {measured:.1%} of the first test images right, its record says "
            f"{recorded_teacher_accuracy:.1%}: check normalisation={config.normalisation or config.dataset} and the "
            "teacher's file"
        )
    return found


def _below(report: Report, column: str, limit: float) -> bool:
    value = report.get(column)
    return value is not None and value < limit


def _plausible(measured: float, recorded: float) -> bool:
    """Return whether an accuracy on 1,000 images agrees with the recorded one: within 5 standard errors plus 0.01."""
    error = math.sqrt(recorded * (1 - recorded) / TEACHER_CHECK_IMAGES)
    return abs(measured - recorded) <= 5 * error + 0.01
