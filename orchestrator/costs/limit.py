"""Spending limits, ``budget: {usd: ...}`` and ``budget: {gpu_hours: ...}``: no trial starts that would exceed them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from orchestrator.config.budget import BudgetConfig
from orchestrator.costs.ledger import NOTHING, CostAmount, CostLedger


@dataclass(kw_only=True)
class SpendingLimit:
    """The limit on what a sweep may spend, which decides whether another trial may start.

    The cost of another trial is estimated by the mean cost of ended trials, else by the mean projected cost of running ones.
    As long as neither is known, one trial runs alone up to its first report. Running trials are counted as if they use up
    their budgets, so that a trial which is stopped early may let another one start.
    """

    budget: BudgetConfig | None
    """The sweep's budget. If it is None or has no limits, all trials may start."""

    ledger: CostLedger
    say: Callable[[str], None]
    exhausted: bool = False
    """Whether the last trial was refused while none ran, so that the sweep cannot get any further."""

    _said: bool = field(default=False)

    def allows_another(self, running: Collection[str]) -> bool:
        """Return whether another trial may start, and print a line at the first refusal.

        Args:
            running: Ids of the trials that have started and have not ended.
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
            more = f", about {self._words(projected)} expected for the running trials" if running else ""
            self.say(f"budget reached: {self.spent}{more}, about {self._words(each)} for another; none is started")
        return not reached

    @property
    def spent(self) -> str:
        """The amount spent so far and the limit in words, such as ``12.3 of 50 USD spent``."""
        total = self._amounts(self.ledger.total)
        return " and ".join(f"{_number(amount)} of {limit:g} {unit}" for unit, limit, amount in total) + " spent"

    def _amounts(self, spent: CostAmount) -> list[tuple[str, float, float | None]]:
        """Return unit, limit and spent amount for each limit that is set."""
        usd, gpu_hours = (self.budget.usd, self.budget.gpu_hours) if self.budget else (None, None)
        found = [("USD", usd, spent.usd), ("GPU hours", gpu_hours, spent.gpu_hours)]
        return [(unit, limit, amount) for unit, limit, amount in found if limit is not None]

    def _words(self, spent: CostAmount) -> str:
        return " and ".join(f"{_number(amount)} {unit}" for unit, _, amount in self._amounts(spent))


def spent_in_words(ledger: CostLedger, budget: BudgetConfig | None) -> str:
    """Return the amount spent in words, with the limit if there is one; empty if nothing was spent."""
    if budget is not None and (budget.usd is not None or budget.gpu_hours is not None):
        return SpendingLimit(budget=budget, ledger=ledger, say=lambda line: None).spent
    total = ledger.total
    parts = [f"{total.gpu_hours:.3g} GPU hours"] if total.gpu_seconds else []
    return ", ".join([*parts, f"{total.usd:.2f} USD"] if total.usd else parts)


def _number(amount: float | None) -> str:
    return "an unknown number" if amount is None else f"{amount:.3g}"
