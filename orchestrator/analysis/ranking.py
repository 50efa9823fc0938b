"""Ranking of a search's trials: one order for leaderboard, live view, status, report and confirmation.

Trials that used their whole budget come first, ordered by the objective. Trials that were stopped early follow, ordered by
the share of the budget that they used, since a trial that came further has passed more comparisons at equal budgets. Among
trials that came equally far the objective decides. Values at different budgets are never compared.
"""

from __future__ import annotations

import math

from orchestrator.config import SweepConfig
from orchestrator.results.records import ENDED, TrialState
from trainables.metrics import finite


def may_be_best(state: TrialState, *, feasible: bool) -> bool:
    """Return whether a trial can be the best one: it must have used its whole budget and satisfy the constraints."""
    return state is TrialState.COMPLETED and feasible


def place(
    sweep: SweepConfig, *, state: TrialState, feasible: bool, share: float, objective: float | None, number: int
) -> tuple[int, bool, float, float, int]:
    """Return the sort key of a trial: a smaller key ranks higher.

    Args:
        sweep: The search.
        state: How the trial ended.
        feasible: Whether the trial satisfies the constraints at its last report.
        share: Share of its budget that the trial used.
        objective: Last value of the objective; None, infinite and NaN rank last.
        number: Number of the trial, which decides between otherwise equal trials.
    """
    value = finite(objective)
    merit = -math.inf if value is None else sweep.merit(value)
    ranked_by_share = state is TrialState.STOPPED_EARLY
    return ENDED.index(state), not feasible, -share if ranked_by_share else 0.0, -merit, number
