"""``budget: {usd: ...}`` and ``budget: {gpu_hours: ...}``: no trial starts that would spend more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from orchestrator.config.budget import BudgetConfig
from orchestrator.costs.ledger import NOTHING, CostAmount, CostLedger


@dataclass(kw_only=True)
class SpendingLimit:
    """Whether a sweep may start another trial.

    What another one will cost is taken to be the mean of those that have ended, else what the running ones are on their
    way to. As long as that is not known either, one trial runs alone: its first report tells. Those that run are counted
    with what they still need to use up their budgets, so trials that are stopped early let others start after all.
    """

    budget: BudgetConfig | None
    """None, or without limits: the answer is always yes."""

    ledger: CostLedger
    say: Callable[[str], None]
    exhausted: bool = False
    """Whether the last answer was no while nothing ran: the sweep has come as far as it may."""

    _said: bool = field(default=False)

    def allows_another(self, running: Collection[str]) -> bool:
        """Whether another trial may start. The first no is said aloud.

        Args:
            running: Trials that have been started and have not ended.
        """
        if not self._amounts(NOTHING):
            return True
        each = self.ledger.mean_per_trial
        if each is None:
            return not running
        projected = self.ledger.projected(running)
        needed = self.ledger.total + projected + each
        reached = any(amount is None or amount > limit for _, limit, amount in self._amounts(needed))
        self.exhausted = reached and not running
        if reached and not self._said:
            self._said = True
            more = f", about {self._words(projected)} foreseen for the trials that run" if running else ""
            self.say(f"budget reached: {self.spent}{more}, about {self._words(each)} for another; none is started")
        return not reached

    @property
    def spent(self) -> str:
        """What has been spent by now, of how much: ``12.3 of 50 USD spent``."""
        total = self._amounts(self.ledger.total)
        return " and ".join(f"{_number(amount)} of {limit:g} {unit}" for unit, limit, amount in total) + " spent"

    def _amounts(self, spent: CostAmount) -> list[tuple[str, float, float | None]]:
        """Unit, limit and amount for each limit that is set."""
        usd, gpu_hours = (self.budget.usd, self.budget.gpu_hours) if self.budget else (None, None)
        found = [("USD", usd, spent.usd), ("GPU hours", gpu_hours, spent.gpu_hours)]
        return [(unit, limit, amount) for unit, limit, amount in found if limit is not None]

    def _words(self, spent: CostAmount) -> str:
        return " and ".join(f"{_number(amount)} {unit}" for unit, _, amount in self._amounts(spent))


def spent_in_words(ledger: CostLedger, budget: BudgetConfig | None) -> str:
    """What has been spent, beside the limit if there is one; empty where nothing is known."""
    if budget is not None and (budget.usd is not None or budget.gpu_hours is not None):
        return SpendingLimit(budget=budget, ledger=ledger, say=lambda line: None).spent
    total = ledger.total
    parts = [f"{total.gpu_hours:.3g} GPU hours"] if total.gpu_seconds else []
    return ", ".join([*parts, f"{total.usd:.2f} USD"] if total.usd else parts)


def _number(amount: float | None) -> str:
    return "an unknown number" if amount is None else f"{amount:.3g}"
