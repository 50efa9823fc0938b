"""A tiny sweep for ``zskt plan``."""

from __future__ import annotations

from orchestrator.config import SweepConfig
from tests.support.tiny import tiny_settings


def tiny(**changes: object) -> SweepConfig:
    trial = {**tiny_settings(), "validation_fraction": 0.5, **changes}
    return SweepConfig.model_validate(
        {
            "name": "tiny",
            "trial": trial,
            "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
            "num_trials": 4,
            "scheduler": {"name": "none"},
        }
    )
