"""Converts a trial's state, objectives and constraints between this project and Optuna."""

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
    """Return Optuna's state for a state of an ended trial: COMPLETE only if the trial used its whole budget."""
    if not state.has_result:
        return OptunaState.FAIL
    return OptunaState.COMPLETE if state is TrialState.COMPLETED else OptunaState.PRUNED


def ended_state(trial: FrozenTrial) -> TrialState:
    """Return the state in which a trial ended, as recorded in the study."""
    if trial.state is OptunaState.FAIL:
        return TrialState.DIVERGED if DIVERGED_ATTRIBUTE in trial.user_attrs else TrialState.FAILED
    return TrialState.COMPLETED if trial.state is OptunaState.COMPLETE else TrialState.STOPPED_EARLY


def optuna_values(sweep: SweepConfig, report: Mapping[str, Any]) -> list[float]:
    """Return the objectives of a completed trial; ``[0.0]`` for cases, which have none, since Optuna requires a value."""
    return [float(report[name]) for name in sweep.directions] or [0.0]


def optuna_constraints(
    sweep: SweepConfig, state: TrialState, report: Mapping[str, Any], share: float
) -> dict[str, float]:
    """Return the values of a trial's constraints by name; a value above 0 means that the constraint is violated."""
    told = optuna_state(state)
    found = {} if told is OptunaState.FAIL else sweep.violations(report)
    if told is OptunaState.PRUNED and sweep.further_objectives:
        # Optuna cannot rank a trial without values of all objectives. A violated constraint ranks the trial below all
        # completed trials, and the lower, the earlier the trial was stopped.
        found[_UNUSED] = 1 - share
    return found
