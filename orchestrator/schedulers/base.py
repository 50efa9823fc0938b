"""What a scheduler says of itself, and the rules by which schedulers stop trials, whatever runs these.

A stopping rule is asked at each report of each trial and answers whether the trial goes on. It knows trials by the sweep's
trial ids and is filled from what the study knows, so that a sweep that is started again stops what it would have stopped.
It counts in units of budget used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import ConfigDict

from orchestrator.kinds import Kind
from orchestrator.samplers.base import SamplerConfig
from trainables.config import AnyTrialConfig
from trainables.metrics import finite

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

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


class PopulationRule(Protocol):
    """Says which trial takes over from which, where settings change in the course of a training.

    It knows nothing but the study's trials, so that what comes next is the same after any interruption.
    """

    def is_ready(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Whether trial ``number``, which has not been asked for yet, can be asked for now.

        Args:
            number: Of the trial.
            trials: The study's, in order of their numbers.
        """

    def sampler(self, number: int, trials: Sequence[FrozenTrial]) -> BaseSampler | None:
        """Optuna's sampler for a trial that takes over from another; None: the sweep's own sampler proposes."""

    def config(self, number: int, whole: AnyTrialConfig, trials: Sequence[FrozenTrial]) -> AnyTrialConfig:
        """Return what trial ``number`` does of a training with the config ``whole``."""


class SchedulerConfig(Kind):
    """Which trials are stopped early."""

    compares_midway: ClassVar[bool] = True
    """Whether trials are compared before their end, which needs an objective that is known by then."""

    stops_trials: ClassVar[bool] = True
    """Whether trials may end as stopped early."""

    is_population: ClassVar[bool] = False
    """Whether trials take over from each other, and settings change in the course of a training."""

    @property
    def num_trials(self) -> int | None:
        """How many trials a sweep has, where that follows from the scheduler; else None."""
        return None

    @property
    def in_words(self) -> str:
        """What it does, for a sentence."""
        return f"early stopping by {self.name}"

    @property
    def earliest_stop(self) -> float:
        """Share of a trial's budget before which it is never stopped, in [0, 1]."""
        return 0.0

    @property
    def spared_trials(self) -> int:
        """How many trials run to their end whatever they report, since there are too few to compare with."""
        return 1

    def check(self, config: AnyTrialConfig, *, equal_budget: bool, sampler: SamplerConfig) -> None:
        """Refuse a search that the scheduler does not fit.

        Args:
            config: What its trials share.
            equal_budget: Whether the length of each trial follows from the sweep's ``budget``.
            sampler: The search's.

        Raises:
            ValueError: they do not go together.
        """

    def trial_of(self, config: AnyTrialConfig) -> AnyTrialConfig:
        """The work of one trial, where a training has ``config``."""
        return config

    def build(self, *, mode: str, budget: int, past_reports: Iterable[PastReport] = ()) -> StoppingRule | None:
        """Return the stopping rule of one session; None of a scheduler that stops no trials.

        Args:
            mode: ``max`` or ``min``.
            budget: A trial's whole budget.
            past_reports: All reports of earlier sessions.
        """
        if self.stops_trials:
            raise NotImplementedError(f"{type(self).__name__} stops trials and does not say by which rule")
        return None

    def build_population(self, *, seed: int, mode: str, trial_name: Callable[[int], str]) -> PopulationRule | None:
        """Return the rule by which trials take over from each other; None where they do not.

        Args:
            seed: The sweep's.
            mode: ``max`` or ``min``.
            trial_name: The id of a trial, by its number.
        """
        return None


class AbsentScheduler(SchedulerConfig):
    """A scheduler that a stored sweep names and that is not at hand: its settings can be shown, and no trial be stopped."""

    model_config = ConfigDict(extra="allow")

    stops_trials: ClassVar[bool] = False


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
