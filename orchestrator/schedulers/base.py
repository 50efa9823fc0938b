"""Early stopping in units of budget used, whatever runs the trials.

A stopping rule is asked at each report of each trial and answers whether the trial goes on. It knows trials by the sweep's
trial ids and is filled from what the study knows, so that a sweep that is started again stops what it would have stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from trainables.metrics import finite

PastReport = tuple[str, int, float]
"""Trial id, how much of the budget was used (in its unit), objective."""


class Decision(StrEnum):
    """What becomes of a trial after a report."""

    CONTINUE = "CONTINUE"
    STOP = "STOP"


class StoppingRule(Protocol):
    """Decides on each report whether its trial goes on.

    **Order.** Reports come one at a time, those of one trial in the order of the budget used, except after a recovery:
    then a trial makes some of its reports again, and a rule counts each of them once.

    **State.** All that a rule knows are the reports that it was made with and those that it was told of since: a new one
    made with all of them decides alike.
    """

    def on_report(self, trial_id: str, used: int, value: float | None) -> Decision:
        """Decide on a trial that has just reported.

        Args:
            trial_id: The sweep's id of the trial.
            used: How much of its budget the trial has used, in the budget's unit.
            value: The objective that it reports; None, NaN or infinite is compared with nothing, and the trial goes on.
        """


class BudgetRule(ABC):
    """What stopping rules have in common: they remember what every trial has reported at how much of its budget."""

    def __init__(self, *, mode: str, past_reports: Iterable[PastReport] = ()) -> None:
        """Make the rule of one session.

        Args:
            mode: ``max`` or ``min``: whether the objective is to be large or small.
            past_reports: All reports of earlier sessions, in any order.
        """
        self._sign = 1.0 if mode == "max" else -1.0
        self._values: dict[str, dict[int, float]] = defaultdict(dict)
        """By trial and budget used; larger is better. A report that is made again after a recovery is the same one."""
        for trial_id, used, value in sorted(past_reports, key=lambda report: report[:2]):
            self._note(trial_id, used, value)

    def on_report(self, trial_id: str, used: int, value: float | None) -> Decision:
        """See ``StoppingRule``.

        After a recovery a trial reports again: what it had passed it has passed, and only its last report, whose outcome
        nobody may have acted on, is judged again.
        """
        number = finite(value)
        # A NaN among the values of a rung would be above and below all others.
        if number is None or used < max(self._values[trial_id], default=0):
            return Decision.CONTINUE
        self._note(trial_id, used, number)
        return Decision.CONTINUE if self._goes_on(trial_id, used) else Decision.STOP

    def _note(self, trial_id: str, used: int, value: float) -> None:
        self._values[trial_id].setdefault(used, self._sign * value)

    @abstractmethod
    def _goes_on(self, trial_id: str, used: int) -> bool:
        """Whether a trial goes on whose report at ``used`` has just been noted."""
