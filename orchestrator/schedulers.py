"""Early stopping: asynchronous successive halving (Li et al., 2020), in units of budget used.

Tune's own ASHA forgets its rungs when a sweep is started again, after which the worst trial goes on for want of
competitors. Here the rungs are filled from what the study knows. Trials are told apart by the sweep's trial ids, since
Tune gives a continued trial a new id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.config import SchedulerConfig

PastReport = tuple[str, int, float]
"""Trial id, how much of the budget was used (in its unit), objective."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A trial's first report at a rung; larger values are better."""

    done: int
    value: float


class AshaScheduler(FIFOScheduler):
    """Stops a trial at a rung unless it is among the best 1/reduction_factor of the trials seen there.

    As in Tune and in the paper's stopping variant, the first trial at a rung always goes on.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        objective: str,
        mode: str,
        used: Callable[[Mapping[str, Any], Mapping[str, Any]], int],
        budget: int,
        past_reports: Iterable[PastReport] = (),
    ) -> None:
        """Make the scheduler of one session.

        Args:
            config: Rungs.
            objective: Metric that is compared.
            mode: ``max`` or ``min``.
            used: How much of its budget a trial has used, from its Tune config and a result.
            budget: A trial's whole budget, in the same unit.
            past_reports: All reports of earlier sessions.
        """
        super().__init__()
        self._used = used
        self._objective = objective
        self._sign = 1.0 if mode == "max" else -1.0
        self._factor = config.reduction_factor
        self.rungs = rung_budgets(config, budget)
        self._entries: dict[int, dict[str, _Entry]] = {rung: {} for rung in self.rungs}
        self._furthest: dict[str, int] = {}
        for trial_id, done, value in sorted(past_reports, key=lambda report: report[:2]):
            self._record(trial_id, done, value)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook: CONTINUE or STOP."""
        done = self._used(trial.config, result)
        return self.decide(trial.config["trial_id"], done, result[self._objective])

    def decide(self, trial_id: str, done: int, value: float) -> str:
        """CONTINUE or STOP for a trial that reports ``value`` after so much of its budget.

        A trial is compared at the highest rung it has reached. After a recovery it reports again: what it had passed it
        has passed, and only its last report, whose outcome nobody may have acted on, is judged again.
        """
        if done < self._furthest.get(trial_id, 0):
            return str(TrialScheduler.CONTINUE)
        rung = self._record(trial_id, done, value)
        if rung is None:
            return str(TrialScheduler.CONTINUE)
        values = {key: entry.value for key, entry in self._entries[rung].items()}
        cutoff = np.percentile(list(values.values()), 100 * (1 - 1 / self._factor))
        return str(TrialScheduler.CONTINUE if values[trial_id] >= cutoff else TrialScheduler.STOP)

    def _record(self, trial_id: str, done: int, value: float) -> int | None:
        """Enter a trial's first report at the highest rung it reaches; the rung if this is that report, else none."""
        self._furthest[trial_id] = max(done, self._furthest.get(trial_id, 0))
        reached = [rung for rung in self.rungs if done >= rung]
        if not reached:
            return None
        entry = _Entry(done=done, value=self._sign * value)
        first = self._entries[reached[-1]].setdefault(trial_id, entry)
        return reached[-1] if first.done == done else None


def rung_budgets(config: SchedulerConfig, budget: int) -> list[int]:
    """Where trials are compared: after the grace share of the budget, times the factor each, below the end."""
    rung = max(1.0, config.grace * budget)
    rungs = []
    while rung < budget:
        rungs.append(round(rung))
        rung *= config.reduction_factor
    return rungs
