"""The configuration of a sweep, checked before any trial starts."""

from __future__ import annotations

from orchestrator.config.roles import SweepRole, sweep_fields
from orchestrator.config.sweep import BASELINE, RUN_FIELDS, Assignment, SweepConfig, trial_model

__all__ = [
    "BASELINE",
    "RUN_FIELDS",
    "Assignment",
    "SweepConfig",
    "SweepRole",
    "sweep_fields",
    "trial_model",
]
