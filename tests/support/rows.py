"""Rows of results, as sweeps write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator.results.schema import CONFIG_PREFIX, TRIALS
from trainables.config import ZeroShotConfig
from trainables.metrics import METRICS

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def report(trial_id: str = "t0000", pseudo_batches: int = 10, **changes: Any) -> dict[str, Any]:
    values: dict[type, Any] = {int: 1, float: 0.5, bool: False}
    row: dict[str, Any] = {metric.name: values[metric.kind] for metric in METRICS}
    row |= {"trial_id": trial_id, "pseudo_batches": pseudo_batches, "student_updates": 10 * pseudo_batches}
    row |= {"reported_at": NOW}
    row |= {"hostname": "here", "device": "cpu", "device_name": "Abacus 9", "threads": 1, "compiled": False}
    return row | {"node_type": "here", "gpu_seconds": 0.0, "cost_usd": None} | changes


def trial(trial_id: str = "t0000", **changes: Any) -> dict[str, Any]:
    row = report(trial_id)
    del row["reported_at"]
    row |= dict.fromkeys(name for name in TRIALS.names if name.startswith(CONFIG_PREFIX))
    row |= {CONFIG_PREFIX + name: field.default for name, field in ZeroShotConfig.model_fields.items()}
    row |= {
        "trial_number": int(trial_id[1:]),
        "case": None,
        "state": "completed",
        "error": "",
        "objective": 0.5,
        "feasible": True,
        "recoveries": 0,
        "recovery_causes_json": None,
    }
    row |= {"ended_at": NOW, "teacher_sha256": "ab", "teacher_validation_accuracy": 0.9, "teacher_test_accuracy": 0.9}
    return row | changes
