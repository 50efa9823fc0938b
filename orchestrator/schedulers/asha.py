"""Asynchronous successive halving (Li et al., 2020): a trial is stopped at a rung unless it is among the best there.

As in Tune and in the paper's stopping variant, the first trial at a rung always continues. A trial is compared once at each
rung, at its first report there, by the mean of its last few reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.schedulers.base import BudgetRule, PastReport, SchedulerConfig


class Asha(SchedulerConfig):
    """Asynchronous successive halving: stops a trial at a rung unless the trial is among the best there."""

    name: Literal["asha"] = "asha"

    grace: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a trial's budget before which the trial is not stopped. Defaults to a quarter, since the learning rate's
    cosine is long and early accuracies predict little."""

    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Only the best 1/reduction_factor of the trials seen at a rung continue to the next rung, which lies at
    ``reduction_factor`` times that rung's budget."""

    smoothing: Annotated[int, Field(ge=1)] = 3
    """Number of last reports whose mean ranks a trial, since a single accuracy in mid-run has about two points of noise."""

    @property
    def earliest_stop(self) -> float:
        """See ``SchedulerConfig``."""
        return self.grace

    def build(self, *, mode: str, budget: int, past_reports: Iterable[PastReport] = ()) -> AshaRule:
        """See ``SchedulerConfig``."""
        return AshaRule(
            rungs=rung_budgets(grace=self.grace, reduction_factor=self.reduction_factor, budget=budget),
            reduction_factor=self.reduction_factor,
            smoothing=self.smoothing,
            mode=mode,
            past_reports=past_reports,
        )


class AshaRule(BudgetRule):
    """Stops a trial at a rung unless it is among the best 1/reduction_factor of the trials seen there."""

    def __init__(
        self,
        *,
        rungs: Iterable[int],
        reduction_factor: int,
        smoothing: int,
        mode: str,
        past_reports: Iterable[PastReport] = (),
    ) -> None:
        """Make the rule of one session.

        Args:
            rungs: Budgets at which trials are compared, in the budget's unit, ascending.
            reduction_factor: The best 1/reduction_factor of the trials at each rung continue.
            smoothing: Number of last reports whose mean is compared.
            mode: See ``BudgetRule``.
            past_reports: See ``BudgetRule``.
        """
        self.rungs = list(rungs)
        self._reduction_factor = reduction_factor
        self._smoothing = smoothing
        self._entries: dict[int, dict[str, tuple[int, float]]] = {rung: {} for rung in self.rungs}
        """By rung and trial id: budget used at the trial's first report there, and the mean of its last reports by then."""
        super().__init__(mode=mode, past_reports=past_reports)

    def entries(self, rung: int) -> dict[str, float]:
        """Return the trials' smoothed objectives at a rung, by trial id; larger is better."""
        return {trial_id: value for trial_id, (_, value) in self._entries[rung].items()}

    def _note(self, trial_id: str, used: int, value: float) -> None:
        super()._note(trial_id, used, value)
        rung = self._rung(used)
        if rung is not None:
            self._entries[rung].setdefault(trial_id, (used, self._smoothed(trial_id, used)))

    def _goes_on(self, trial_id: str, used: int) -> bool:
        import numpy as np  # takes 0.1 s, so reading a config must not import it

        rung = self._rung(used)
        if rung is None or self._entries[rung][trial_id][0] != used:
            return True
        values = self.entries(rung)
        cutoff = np.percentile(list(values.values()), 100 * (1 - 1 / self._reduction_factor))
        return bool(values[trial_id] >= cutoff)

    def _rung(self, used: int) -> int | None:
        """Return the highest rung that a budget has reached; None before the first rung."""
        return max((rung for rung in self.rungs if used >= rung), default=None)

    def _smoothed(self, trial_id: str, used: int) -> float:
        import numpy as np  # as above

        reports = self._values[trial_id]
        last = sorted(place for place in reports if place <= used)[-self._smoothing :]
        return float(np.mean([reports[place] for place in last]))


def rung_budgets(*, grace: float, reduction_factor: int, budget: int) -> list[int]:
    """Return the budgets of the rungs, in the budget's unit.

    The first rung lies at ``grace`` * ``budget``, each further one at ``reduction_factor`` times the one before, all of them
    below the whole budget.
    """
    rung = max(1.0, grace * budget)
    rungs = []
    while rung < budget:
        rungs.append(round(rung))
        rung *= reduction_factor
    return rungs
