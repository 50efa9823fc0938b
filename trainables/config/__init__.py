"""Every field of a trial, and what it decides. Free of torch."""

from __future__ import annotations

from trainables.config.base import Config, Count, NonNegative, Rate, Seed, Share, Weight
from trainables.config.fields import (
    INHERITED_FIELDS,
    LENGTH_FIELDS,
    PERMISSION_FIELDS,
    SEEDS,
    SHARED_FIELDS,
    START_FIELDS,
    TEACHER_FIELDS,
    WEIGHTLESS_FIELDS,
)
from trainables.config.methods import CONFIGS, AnyTrialConfig, config_class
from trainables.config.supervised import SupervisedConfig
from trainables.config.trial import SplitsKey, TeacherKey, TrialConfig
from trainables.config.zero_shot import Divergence, Precision, ZeroShotConfig

__all__ = [
    "CONFIGS",
    "INHERITED_FIELDS",
    "LENGTH_FIELDS",
    "PERMISSION_FIELDS",
    "SEEDS",
    "SHARED_FIELDS",
    "START_FIELDS",
    "TEACHER_FIELDS",
    "WEIGHTLESS_FIELDS",
    "AnyTrialConfig",
    "Config",
    "Count",
    "Divergence",
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
]
