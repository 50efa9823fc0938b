"""Records of trials, as a driver keeps them."""

from __future__ import annotations

from typing import Any

from orchestrator.results import TrialRecord
from tests.support.rows import trial


def record(trial_id: str = "t0000", **changes: Any) -> TrialRecord:
    return TrialRecord.of_row({"sweep_id": "sweep-a", **trial(trial_id, **changes)})
