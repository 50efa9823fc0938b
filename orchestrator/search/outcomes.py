"""How a trial ended, in this project's words and in Optuna's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from orchestrator.config import SweepConfig
from orchestrator.search.study import DIVERGED_ATTRIBUTE

EndState = Literal["completed", "stopped_early", "diverged", "failed"]

_UNUSED = "unused_budget"


def told_state(state: str) -> TrialState:
    """How Optuna calls the end of a trial: COMPLETE is only one that used its whole budget."""
    return {"completed": TrialState.COMPLETE, "stopped_early": TrialState.PRUNED}.get(state, TrialState.FAIL)


def ended_state(trial: FrozenTrial) -> EndState:
    """How a trial ended, as far as the study knows."""
    if trial.state is TrialState.FAIL:
        return "diverged" if DIVERGED_ATTRIBUTE in trial.user_attrs else "failed"
    return "completed" if trial.state is TrialState.COMPLETE else "stopped_early"


def told_values(sweep: SweepConfig, report: Mapping[str, Any]) -> list[float]:
    """The objectives of a completed trial; a sweep of cases compares nothing, but Optuna wants a value."""
    return [float(report[name]) for name in sweep.directions] or [0.0]


def told_violations(sweep: SweepConfig, state: str, report: Mapping[str, Any], share: float) -> dict[str, float]:
    """What Optuna is told of a trial's constraints; above 0 is broken."""
    told = told_state(state)
    found = {} if told is TrialState.FAIL else sweep.violations(report)
    if told is TrialState.PRUNED and sweep.further_objectives:
        # Optuna cannot rank a trial without values of all objectives. As a broken constraint it can: below all that are
        # complete, and the lower, the earlier the trial was stopped.
        found[_UNUSED] = 1 - share
    return found
