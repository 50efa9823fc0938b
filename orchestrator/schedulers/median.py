"""Median stopping (Golovin et al., Google Vizier, 2017): stops trials that are worse than the median of the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.schedulers.base import BudgetRule, PastReport, SchedulerConfig


class Median(SchedulerConfig):
    """Median stopping: stops a trial whose best value is below the median of the other trials' averages."""

    name: Literal["median"] = "median"

    grace: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a trial's budget before which the trial is not stopped. Defaults to a quarter, since the learning rate's
    cosine is long and early accuracies predict little."""

    minimum_trials: Annotated[int, Field(ge=1)] = 5
    """Number of other trials that must have used as much budget before a trial may be stopped."""

    @property
    def earliest_stop(self) -> float:
        """See ``SchedulerConfig``."""
        return self.grace

    @property
    def spared_trials(self) -> int:
        """See ``SchedulerConfig``."""
        return self.minimum_trials

    def build(self, *, mode: str, budget: int, past_reports: Iterable[PastReport] = ()) -> MedianRule:
        """See ``SchedulerConfig``."""
        return MedianRule(
            grace=self.grace,
            minimum_trials=self.minimum_trials,
            budget=budget,
            mode=mode,
            past_reports=past_reports,
        )


class MedianRule(BudgetRule):
    """Stops a trial whose best value so far is below the median of the other trials' averages up to the same budget."""

    def __init__(
        self, *, grace: float, minimum_trials: int, budget: int, mode: str, past_reports: Iterable[PastReport] = ()
    ) -> None:
        """Make the rule of one session.

        Args:
            grace: Share of the budget before which no trial is stopped.
            minimum_trials: Number of other trials that must have used as much budget before a trial may be stopped.
            budget: A trial's whole budget.
            mode: See ``BudgetRule``.
            past_reports: See ``BudgetRule``.
        """
        self._first = grace * budget
        self._minimum_trials = minimum_trials
        self._budget = budget
        super().__init__(mode=mode, past_reports=past_reports)

    def _goes_on(self, trial_id: str, used: int) -> bool:
        import numpy as np  # takes 0.1 s, so reading a config must not import it

        if not self._first <= used < self._budget:
            return True
        averages = [
            np.mean([value for place, value in reports.items() if place <= used])
            for other, reports in self._values.items()
            if other != trial_id and reports and min(reports) <= used <= max(reports)
        ]
        if len(averages) < self._minimum_trials:
            return True
        return bool(max(self._values[trial_id].values()) >= np.median(averages))
