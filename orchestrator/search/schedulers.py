"""Asks a sweep's stopping rule from inside of Ray Tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from orchestrator.schedulers.base import StoppingRule

BudgetUsed = Callable[[Mapping[str, Any], Mapping[str, Any]], int]
"""How much of its budget a trial has used, from its Tune config and a result."""


class TuneScheduler(FIFOScheduler):
    """A stopping rule as Tune's scheduler. Tune gives a continued trial a new id; the rule is told the sweep's."""

    def __init__(self, rule: StoppingRule, *, objective: str, used: BudgetUsed) -> None:
        """Wrap a rule.

        Args:
            rule: Is asked at each result.
            objective: Metric that it compares.
            used: See ``BudgetUsed``.
        """
        super().__init__()
        self._rule = rule
        self._objective = objective
        self._used = used

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook: CONTINUE or STOP."""
        used = self._used(trial.config, result)
        return str(self._rule.on_report(trial.config["trial_id"], used, result.get(self._objective)))
