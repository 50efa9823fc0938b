"""Every field of a trial, and what it decides. Free of torch."""

from __future__ import annotations

from trainables.config.base import Config, Count, Rate, Seed, Weight
from trainables.config.methods import CONFIGS, INHERITED_FIELDS, AnyTrialConfig, config_class
from trainables.config.supervised import SupervisedConfig
from trainables.config.trial import SplitsKey, TeacherKey, TrialConfig
from trainables.config.zero_shot import Divergence, Precision, ZeroShotConfig

__all__ = [
    "CONFIGS",
    "INHERITED_FIELDS",
    "AnyTrialConfig",
    "Config",
    "Count",
    "Divergence",
    "Precision",
    "Rate",
    "Seed",
    "SplitsKey",
    "SupervisedConfig",
    "TeacherKey",
    "TrialConfig",
    "Weight",
    "ZeroShotConfig",
    "config_class",
]
