"""Configs of trials: every field of every method, with its role. Imports no torch."""

from __future__ import annotations

from trainables.config.base import Config, Count, NonNegative, Rate, Seed, Share, SplitsKey, TeacherKey, Weight
from trainables.config.fields import (
    inherited_fields,
    length_fields,
    permission_fields,
    seed_fields,
    shared_fields,
    teacher_fields,
    weightless_fields,
)
from trainables.config.methods import METHODS, AnyTrialConfig, config_class, config_classes, methods_with
from trainables.config.supervised import SupervisedConfig
from trainables.config.trial import TrialConfig
from trainables.config.zero_shot import Precision, ZeroShotConfig

__all__ = [
    "METHODS",
    "AnyTrialConfig",
    "Config",
    "Count",
    "NonNegative",
    "Precision",
    "Rate",
    "Seed",
    "Share",
    "SplitsKey",
    "SupervisedConfig",
    "TeacherKey",
    "TrialConfig",
    "Weight",
    "ZeroShotConfig",
    "config_class",
    "config_classes",
    "inherited_fields",
    "length_fields",
    "methods_with",
    "permission_fields",
    "seed_fields",
    "shared_fields",
    "teacher_fields",
    "weightless_fields",
]
