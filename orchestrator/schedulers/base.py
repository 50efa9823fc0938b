"""Base classes of the scheduler configs and of the stopping rules, which are independent of the backend.

A stopping rule decides at each report whether the trial continues. Rules identify trials by the sweep's trial ids and start
with the reports stored in the study, so that a resumed sweep stops the same trials as an uninterrupted one. Progress is
measured in units of budget used.
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
"""A report of an earlier session: trial id, budget used (in the budget's unit), objective."""


class Decision(StrEnum):
    """A stopping rule's decision on a trial after a report."""

    CONTINUE = "CONTINUE"
    STOP = "STOP"


class StoppingRule(Protocol):
    """Interface of the rules that decide at each report whether the trial continues.

    **Order.** Reports arrive one at a time. Reports of one trial arrive in the order of the budget used, except after a
    recovery, when a trial repeats some of its reports; a rule counts a repeated report once.

    **State.** A rule's decisions depend only on the past reports given to its constructor and on the reports received
    since. A new rule constructed from all of these reports makes the same decisions.
    """

    def on_report(self, trial_id: str, used: int, value: float | None) -> Decision:
        """Decide whether a trial that has just reported continues.

        Args:
            trial_id: The sweep's id of the trial.
            used: Budget that the trial has used, in the budget's unit.
            value: Objective in the report. If it is None, NaN or infinite, nothing is compared and the trial continues.
        """


class PopulationRule(Protocol):
    """Interface of the rules of population-based training, which decide from which trial a trial takes over.

    Such a rule depends on the study's trials only, so that it decides the same after any interruption.
    """

    def is_ready(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether trial ``number``, which does not exist yet, can be created now.

        Args:
            number: Number of the trial.
            trials: The study's trials, in the order of their numbers.
        """

    def sampler(self, number: int, trials: Sequence[FrozenTrial]) -> BaseSampler | None:
        """Return Optuna's sampler for a trial that takes over from another; None if the sweep's own sampler proposes."""

    def config(self, number: int, whole: AnyTrialConfig, trials: Sequence[FrozenTrial]) -> AnyTrialConfig:
        """Return the config of trial ``number``: a part of the training that ``whole`` describes."""


class SchedulerConfig(Kind):
    """Config of the scheduler that stops trials early or trains a population."""

    compares_midway: ClassVar[bool] = True
    """Whether trials are compared before their end, which needs an objective that is measured during training."""

    stops_trials: ClassVar[bool] = True
    """Whether the scheduler may stop trials early."""

    is_population: ClassVar[bool] = False
    """Whether trials take over from each other, so that settings change during a student's training."""

    @property
    def num_trials(self) -> int | None:
        """Number of trials of a sweep if the scheduler determines it; else None."""
        return None

    @property
    def in_words(self) -> str:
        """Description of the scheduler for use in a sentence."""
        return f"early stopping by {self.name}"

    @property
    def earliest_stop(self) -> float:
        """Share of a trial's budget before which the trial is never stopped, in [0, 1]."""
        return 0.0

    @property
    def spared_trials(self) -> int:
        """Number of trials that are never stopped, since there are too few other trials to compare them with."""
        return 1

    def check(self, config: AnyTrialConfig, *, equal_budget: bool, sampler: SamplerConfig) -> None:
        """Check that the scheduler fits a search.

        Args:
            config: Config with the values that all trials of the search share.
            equal_budget: Whether the length of each trial follows from the sweep's ``budget``.
            sampler: Sampler of the search.

        Raises:
            ValueError: the scheduler cannot be used in this search.
        """

    def trial_of(self, config: AnyTrialConfig) -> AnyTrialConfig:
        """Return the config of one trial of a training whose whole is ``config``."""
        return config

    def build(self, *, mode: str, budget: int, past_reports: Iterable[PastReport] = ()) -> StoppingRule | None:
        """Return the stopping rule of one session; None if the scheduler stops no trials.

        Args:
            mode: ``max`` or ``min``.
            budget: A trial's whole budget.
            past_reports: All reports of earlier sessions.
        """
        if self.stops_trials:
            raise NotImplementedError(f"{type(self).__name__} stops trials but does not define build()")
        return None

    def build_population(self, *, seed: int, mode: str, trial_name: Callable[[int], str]) -> PopulationRule | None:
        """Return the rule by which trials take over from each other; None if they do not.

        Args:
            seed: Seed of the sweep.
            mode: ``max`` or ``min``.
            trial_name: Function that returns the id of a trial for its number.
        """
        return None


class AbsentScheduler(SchedulerConfig):
    """Stands for a stored sweep's scheduler that is not installed: its settings can be shown, but it stops no trials."""

    model_config = ConfigDict(extra="allow")

    stops_trials: ClassVar[bool] = False


class BudgetRule(ABC):
    """Base of stopping rules: remembers the objectives that each trial has reported, by budget used."""

    def __init__(self, *, mode: str, past_reports: Iterable[PastReport] = ()) -> None:
        """Make the rule of one session.

        Args:
            mode: ``max`` if the objective should be large, ``min`` if it should be small.
            past_reports: All reports of earlier sessions, in any order.
        """
        self._sign = 1.0 if mode == "max" else -1.0
        self._values: dict[str, dict[int, float]] = defaultdict(dict)
        """Reported objectives by trial and budget used; larger is better. A report repeated after a recovery counts once."""
        for trial_id, used, value in sorted(past_reports, key=lambda report: report[:2]):
            self._note(trial_id, used, value)

    def on_report(self, trial_id: str, used: int, value: float | None) -> Decision:
        """See ``StoppingRule``.

        After a recovery a trial repeats some of its reports. Decisions on earlier reports stand; only the last report is
        decided on again, since the session may have ended before that decision was carried out.
        """
        number = finite(value)
        # A NaN cannot be ranked among the values of a rung.
        if number is None or used < max(self._values[trial_id], default=0):
            return Decision.CONTINUE
        self._note(trial_id, used, number)
        return Decision.CONTINUE if self._goes_on(trial_id, used) else Decision.STOP

    def _note(self, trial_id: str, used: int, value: float) -> None:
        self._values[trial_id].setdefault(used, self._sign * value)

    @abstractmethod
    def _goes_on(self, trial_id: str, used: int) -> bool:
        """Return whether a trial continues after its report at ``used``, which has just been stored."""
