"""Fields that let a sweep run and change no number."""

from __future__ import annotations

from typing import Any

RUN_OTHERWISE: dict[str, Any] = {
    "description": "Other words.",
    "num_trials": 40,
    "budget": {"usd": 3.0},
    "resources": {"cpu": 2},
    "max_failures": 9,
    "hung": {"intervals": None},
    "checkpoint_seconds": 1.0,
    "checkpoints_kept": 9,
    "storage": {"uri": "elsewhere"},
    "notify": "https://example.com",
    "prices": "prices.yaml",
    "tensorboard": True,
    "data_root": "elsewhere",
}
