"""How a trial ended, in this project's words and in Optuna's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from orchestrator.config import SweepConfig
from orchestrator.results import TrialState
from orchestrator.search.study import DIVERGED_ATTRIBUTE

_UNUSED = "unused_budget"


def optuna_state(state: TrialState) -> OptunaState:
    """Return Optuna's state of a trial that ended so: COMPLETE is only one that used its whole budget."""
    if not state.has_result:
        return OptunaState.FAIL
    return OptunaState.COMPLETE if state is TrialState.COMPLETED else OptunaState.PRUNED


def ended_state(trial: FrozenTrial) -> TrialState:
    """Return how a trial ended, as far as the study knows."""
    if trial.state is OptunaState.FAIL:
        return TrialState.DIVERGED if DIVERGED_ATTRIBUTE in trial.user_attrs else TrialState.FAILED
    return TrialState.COMPLETED if trial.state is OptunaState.COMPLETE else TrialState.STOPPED_EARLY


def optuna_values(sweep: SweepConfig, report: Mapping[str, Any]) -> list[float]:
    """Return the objectives of a completed trial; a sweep of cases compares nothing, but Optuna wants a value."""
    return [float(report[name]) for name in sweep.directions] or [0.0]


def optuna_constraints(
    sweep: SweepConfig, state: TrialState, report: Mapping[str, Any], share: float
) -> dict[str, float]:
    """Return the values of a trial's constraints, by name; above 0 is broken."""
    told = optuna_state(state)
    found = {} if told is OptunaState.FAIL else sweep.violations(report)
    if told is OptunaState.PRUNED and sweep.further_objectives:
        # Optuna cannot rank a trial without values of all objectives. As a broken constraint it can: below all that are
        # complete, and the lower, the earlier the trial was stopped.
        found[_UNUSED] = 1 - share
    return found
