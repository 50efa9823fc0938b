"""Every field of a trial, and what it decides. Free of torch."""

from __future__ import annotations

from trainables.config.methods import (
    CONFIGS,
    INHERITED_FIELDS,
    AnyTrialConfig,
    Config,
    Divergence,
    Seed,
    SplitsKey,
    SupervisedConfig,
    TeacherKey,
    ZeroShotConfig,
    config_class,
)

__all__ = [
    "CONFIGS",
    "INHERITED_FIELDS",
    "AnyTrialConfig",
    "Config",
    "Divergence",
    "Seed",
    "SplitsKey",
    "SupervisedConfig",
    "TeacherKey",
    "ZeroShotConfig",
    "config_class",
]
