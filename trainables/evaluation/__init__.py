"""Measurements of trained networks, which leave the networks unchanged."""

from __future__ import annotations

from trainables.evaluation.accuracy import Accuracies, accuracy, measure, right_images
from trainables.evaluation.calibration import calibration_error
from trainables.evaluation.class_entropy import class_balance, class_coverage
from trainables.evaluation.data_free import BatchNormDistance, DataFreeScorer, ProbeKind, ProbeSet
from trainables.evaluation.noise import noise_predictions
from trainables.evaluation.transition import (
    MeanCurves,
    TransitionError,
    mean_curves,
    mean_transition_error,
    transition_curves,
)
from trainables.evaluation.transition_table import TargetRule, TransitionCurves

__all__ = [
    "Accuracies",
    "BatchNormDistance",
    "DataFreeScorer",
    "MeanCurves",
    "ProbeKind",
    "ProbeSet",
    "TargetRule",
    "TransitionCurves",
    "TransitionError",
    "accuracy",
    "calibration_error",
    "class_balance",
    "class_coverage",
    "mean_curves",
    "mean_transition_error",
    "measure",
    "noise_predictions",
    "right_images",
    "transition_curves",
]
