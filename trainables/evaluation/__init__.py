"""Measurements on a trained network. None of them leaves a trace in it."""

from __future__ import annotations

from trainables.evaluation.accuracy import Accuracies, accuracy, measure
from trainables.evaluation.noise import noise_predictions
from trainables.evaluation.transition import (
    MeanCurves,
    TargetRule,
    TransitionCurves,
    TransitionError,
    mean_curves,
    mean_transition_error,
    transition_curves,
)

__all__ = [
    "Accuracies",
    "MeanCurves",
    "TargetRule",
    "TransitionCurves",
    "TransitionError",
    "accuracy",
    "mean_curves",
    "mean_transition_error",
    "measure",
    "noise_predictions",
    "transition_curves",
]
