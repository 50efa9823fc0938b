"""Reproduction: published numbers about the method, and verdicts on our own runs. Imports neither torch nor Ray."""

from __future__ import annotations

from orchestrator.reproduction.published import (
    AcceptanceRange,
    LearningCurves,
    Metric,
    PublishedCurves,
    PublishedRow,
    PublishedRun,
    PublishedValue,
    learning_curves,
    published_rows,
    published_sources,
    published_targets,
    published_transition_curves,
)
from orchestrator.reproduction.tables import rules, verdict_markdown, verdict_table
from orchestrator.reproduction.verdict import (
    RUNS_NEEDED,
    Judgement,
    Spread,
    Verdict,
    judge,
    judge_on_curve,
    spread_between_seeds,
)

__all__ = [
    "RUNS_NEEDED",
    "AcceptanceRange",
    "Judgement",
    "LearningCurves",
    "Metric",
    "PublishedCurves",
    "PublishedRow",
    "PublishedRun",
    "PublishedValue",
    "Spread",
    "Verdict",
    "judge",
    "judge_on_curve",
    "learning_curves",
    "published_rows",
    "published_sources",
    "published_targets",
    "published_transition_curves",
    "rules",
    "spread_between_seeds",
    "verdict_markdown",
    "verdict_table",
]
