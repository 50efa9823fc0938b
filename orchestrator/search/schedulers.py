"""Early stopping, in units of budget used.

Tune's own schedulers forget what they know when a sweep is started again, after which the worst trial goes on for want of
competitors. Here they are filled from what the study knows. Trials are told apart by the sweep's trial ids, since Tune
gives a continued trial a new id.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.config.blocks import SchedulerConfig
from trainables.metrics import finite

PastReport = tuple[str, int, float]
"""Trial id, how much of the budget was used (in its unit), objective."""

BudgetUsed = Callable[[Mapping[str, Any], Mapping[str, Any]], int]
"""How much of its budget a trial has used, from its Tune config and a result."""


class BudgetScheduler(FIFOScheduler):
    """What schedulers have in common: they know what every trial has reported at how much of its budget."""

    def __init__(
        self,
        config: SchedulerConfig,
        *,
        objective: str,
        mode: str,
        used: BudgetUsed,
        budget: int,
        past_reports: Iterable[PastReport] = (),
    ) -> None:
        """Make the scheduler of one session.

        Args:
            config: Its settings.
            objective: Metric that is compared.
            mode: ``max`` or ``min``.
            used: See ``BudgetUsed``.
            budget: A trial's whole budget, in the same unit.
            past_reports: All reports of earlier sessions.
        """
        super().__init__()
        self._config = config
        self._used = used
        self._objective = objective
        self._sign = 1.0 if mode == "max" else -1.0
        self._budget = budget
        self._values: dict[str, dict[int, float]] = defaultdict(dict)
        """By trial and budget used; larger is better. A report that is made again after a recovery is the same one."""
        for trial_id, done, value in sorted(past_reports, key=lambda report: report[:2]):
            self._note(trial_id, done, value)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook: CONTINUE or STOP."""
        value = finite(result.get(self._objective))
        if value is None:
            # Nothing to compare; and a NaN among the values of a rung would be above and below all others.
            return str(TrialScheduler.CONTINUE)
        return self.decide(trial.config["trial_id"], self._used(trial.config, result), value)

    def decide(self, trial_id: str, done: int, value: float) -> str:
        """CONTINUE or STOP for a trial that reports ``value`` after so much of its budget.

        After a recovery it reports again: what it had passed it has passed, and only its last report, whose outcome
        nobody may have acted on, is judged again.
        """
        if done < max(self._values[trial_id], default=0):
            return str(TrialScheduler.CONTINUE)
        self._note(trial_id, done, value)
        return str(TrialScheduler.CONTINUE if self._may_go_on(trial_id, done) else TrialScheduler.STOP)

    def _note(self, trial_id: str, done: int, value: float) -> None:
        self._values[trial_id].setdefault(done, self._sign * value)

    @abstractmethod
    def _may_go_on(self, trial_id: str, done: int) -> bool:
        """Whether a trial goes on whose report at ``done`` has just been noted."""


class AshaScheduler(BudgetScheduler):
    """Asynchronous successive halving (Li et al., 2020): stops a trial at a rung unless it is among the best
    1/reduction_factor of the trials seen there.

    As in Tune and in the paper's stopping variant, the first trial at a rung always goes on. A trial is compared once at
    each rung, at its first report there, by the mean of its last few reports.
    """

    @cached_property
    def rungs(self) -> list[int]:
        """Where trials are compared, in the budget's unit, ascending."""
        return rung_budgets(self._config, self._budget)

    @cached_property
    def _entries(self) -> dict[int, dict[str, tuple[int, float]]]:
        """By rung and trial: where its first report there was, and the mean of its last few by then."""
        return {rung: {} for rung in self.rungs}

    def entries(self, rung: int) -> dict[str, float]:
        """What each trial had at a rung, by trial; larger is better."""
        return {trial_id: value for trial_id, (_, value) in self._entries[rung].items()}

    def _note(self, trial_id: str, done: int, value: float) -> None:
        super()._note(trial_id, done, value)
        rung = self._rung(done)
        if rung is not None:
            self._entries[rung].setdefault(trial_id, (done, self._smoothed(trial_id, done)))

    def _may_go_on(self, trial_id: str, done: int) -> bool:
        rung = self._rung(done)
        if rung is None or self._entries[rung][trial_id][0] != done:
            return True
        values = self.entries(rung)
        cutoff = np.percentile(list(values.values()), 100 * (1 - 1 / self._config.reduction_factor))
        return bool(values[trial_id] >= cutoff)

    def _rung(self, done: int) -> int | None:
        """The highest that is reached."""
        return max((rung for rung in self.rungs if done >= rung), default=None)

    def _smoothed(self, trial_id: str, done: int) -> float:
        reports = self._values[trial_id]
        last = sorted(place for place in reports if place <= done)[-self._config.smoothing :]
        return float(np.mean([reports[place] for place in last]))


class MedianScheduler(BudgetScheduler):
    """Stops a trial whose best value so far is below the median of the other trials' averages up to the same budget
    (Golovin et al., Google Vizier, 2017), from the grace share of the budget on."""

    def _may_go_on(self, trial_id: str, done: int) -> bool:
        if not self._config.grace * self._budget <= done < self._budget:
            return True
        averages = [
            np.mean([value for place, value in reports.items() if place <= done])
            for other, reports in self._values.items()
            if other != trial_id and reports and min(reports) <= done <= max(reports)
        ]
        if len(averages) < self._config.minimum_trials:
            return True
        return bool(max(self._values[trial_id].values()) >= np.median(averages))


def make_scheduler(
    config: SchedulerConfig,
    *,
    objective: str,
    mode: str,
    used: BudgetUsed,
    budget: int,
    past_reports: Iterable[PastReport],
) -> BudgetScheduler | None:
    """The scheduler of that name, see ``BudgetScheduler``; none where no trial is stopped while it runs."""
    kinds: dict[str, type[BudgetScheduler]] = {"asha": AshaScheduler, "median": MedianScheduler}
    if config.name not in kinds:
        return None
    return kinds[config.name](
        config, objective=objective, mode=mode, used=used, budget=budget, past_reports=past_reports
    )


def rung_budgets(config: SchedulerConfig, budget: int) -> list[int]:
    """Where trials are compared: after the grace share of the budget, times the factor each, below the end."""
    rung = max(1.0, config.grace * budget)
    rungs = []
    while rung < budget:
        rungs.append(round(rung))
        rung *= config.reduction_factor
    return rungs
