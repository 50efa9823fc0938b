"""Every field of a trial, and what it decides. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.config.base import Config, Count, NonNegative, Rate, Seed, Share, Weight
from trainables.config.methods import METHODS, AnyTrialConfig, config_class, config_classes, methods_with
from trainables.config.supervised import SupervisedConfig
from trainables.config.trial import SplitsKey, TeacherKey, TrialConfig
from trainables.config.zero_shot import Precision, ZeroShotConfig

if TYPE_CHECKING:
    from trainables.config.fields import (
        INHERITED_FIELDS,
        LENGTH_FIELDS,
        PERMISSION_FIELDS,
        SEEDS,
        SHARED_FIELDS,
        TEACHER_FIELDS,
        WEIGHTLESS_FIELDS,
    )

__all__ = [
    "INHERITED_FIELDS",
    "LENGTH_FIELDS",
    "METHODS",
    "PERMISSION_FIELDS",
    "SEEDS",
    "SHARED_FIELDS",
    "TEACHER_FIELDS",
    "WEIGHTLESS_FIELDS",
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
    "methods_with",
]


if not TYPE_CHECKING:  # or no misspelt name would be found

    def __getattr__(name: str) -> Any:
        if name in __all__:
            # On use, as in ``trainables.config.fields``.
            from trainables.config import fields

            return getattr(fields, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
