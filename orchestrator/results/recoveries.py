"""Causes of a trial's recoveries (resumes after its process was lost or raised an error): stored in its row, and printed."""

from __future__ import annotations

import json
from collections import Counter

CAUSES = "recovery_causes_json"
"""Column of a trial's row that holds the causes."""


def causes_json(causes: Counter[str]) -> str | None:
    """Return the causes and their counts as a JSON object for the column; None if there are no causes."""
    return json.dumps(dict(causes)) if causes else None


def in_words(causes: Counter[str]) -> str:
    """Return the causes and their counts as text, the most frequent cause first."""
    return "; ".join(cause if times == 1 else f"{cause} ({times} times)" for cause, times in causes.most_common())
