"""Signs that a trial goes wrong in a way that accuracy shows too late, or never; each with a remedy.

A guard reads a report and nothing else, so whatever warned during a run can be found again in its rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.config import AnyTrialConfig
from trainables.metrics import TEACHER_CHECK_IMAGES, Report

ALIKE = 0.05
"""``image_diversity`` below this: the images of a batch are all but equal. Healthy generators stay above 0.5."""

ONE_SIDED = 0.25
"""``teacher_class_entropy`` below this: with 10 classes, fewer than two are in use."""


NOT_LEARNT = 0.4
"""``class_coverage`` below this at a trial's end: of 17 LeNets on digits all six with less than 84 % test accuracy lay
below, and two of the others."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """``sees`` tells from a report whether something is wrong; ``says`` is one line with the remedy."""

    name: str
    column: str
    sees: Callable[[Report], bool]
    says: str
    at_end: bool = False
    """Whether only the report counts that uses up the budget."""


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
        says="the student's BatchNorm statistics do not move, so its accuracy is that of the first ones: check that its "
        "BatchNorm layers are in train mode and have a momentum",
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
    """Return what is wrong by a report: the name of each guard that sees something, with its line.

    Args:
        config: The trial's settings.
        report: Its newest report.
        recorded_teacher_accuracy: The teacher's test accuracy as recorded with its weights; none where there is none.
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
    """Whether a share of 1,000 images may be a sample of the recorded one: within 5 standard errors and a point."""
    error = math.sqrt(recorded * (1 - recorded) / TEACHER_CHECK_IMAGES)
    return abs(measured - recorded) <= 5 * error + 0.01
