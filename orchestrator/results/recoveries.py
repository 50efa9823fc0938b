"""How often a trial went on after its process was lost or raised, and of what: counted, kept in its row, and said."""

from __future__ import annotations

import json
from collections import Counter

CAUSES = "recovery_causes_json"
"""The column of a trial's row."""


def causes_json(causes: Counter[str]) -> str | None:
    """What the column holds: an object of causes with how often each; null where there is none."""
    return json.dumps(dict(causes)) if causes else None


def in_words(causes: Counter[str]) -> str:
    """The causes with how often each, the most frequent first."""
    return "; ".join(cause if times == 1 else f"{cause} ({times} times)" for cause, times in causes.most_common())
