"""A metric of a user's own, for tests that need one by its file."""

from __future__ import annotations

from trainables.training.reports import Measured


def largest_weight(training: Measured) -> float:
    """Return the largest weight of the student's, in absolute value."""
    return max(float(parameter.detach().abs().max()) for parameter in training.student.parameters())
