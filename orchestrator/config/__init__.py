"""What a sweep is told, checked before anything starts."""

from __future__ import annotations

from orchestrator.config.sweep import (
    PERMISSIONS,
    RUN_FIELDS,
    SEEDS,
    SHARED_FIELDS,
    WEIGHTLESS_FIELDS,
    Assignment,
    SweepConfig,
    trial_model,
)

__all__ = [
    "PERMISSIONS",
    "RUN_FIELDS",
    "SEEDS",
    "SHARED_FIELDS",
    "WEIGHTLESS_FIELDS",
    "Assignment",
    "SweepConfig",
    "trial_model",
]
