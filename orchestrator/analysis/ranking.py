"""Which trial of a search is better: one order for leaderboard, live view, status, report and confirmation.

Trials that used their whole budget come first, by the objective. Then come those that early stopping has ended, which were
never seen at a whole budget: the further one came, the more comparisons at equal budgets it has passed, and of those that
came equally far the objective decides, at what is then an equal budget. Values at different budgets are not compared.
"""

from __future__ import annotations

import math

from orchestrator.config import SweepConfig
from orchestrator.results.records import ENDED, TrialState
from trainables.metrics import finite


def may_be_best(state: TrialState, *, feasible: bool) -> bool:
    """Whether a trial is in question as the best one: it used its whole budget and keeps the constraints."""
    return state is TrialState.COMPLETED and feasible


def place(
    sweep: SweepConfig, *, state: TrialState, feasible: bool, share: float, objective: float | None, number: int
) -> tuple[int, bool, float, float, int]:
    """A trial's place: the smaller, the better.

    Args:
        sweep: The search.
        state: How the trial ended.
        feasible: Whether it keeps the constraints, as far as it came.
        share: Of its budget, used by then.
        objective: Its last value; none, infinite or NaN come last.
        number: The trial's, which decides where all else is equal.
    """
    value = finite(objective)
    merit = -math.inf if value is None else sweep.merit(value)
    ranked_by_share = state is TrialState.STOPPED_EARLY
    return ENDED.index(state), not feasible, -share if ranked_by_share else 0.0, -merit, number
