"""The queue of a sweep's trials: which trial is next, and whether it may start now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from orchestrator.config import Assignment, SweepConfig
from orchestrator.errors import naming
from orchestrator.schedulers.base import PopulationRule
from orchestrator.search.distinct import TriedSettings
from orchestrator.search.study import SweepStudy, assignment_of, running_trials
from orchestrator.storage.layout import trial_name
from trainables.config import AnyTrialConfig
from trainables.trial_result import GPUS, parse_settings, trial_settings


@dataclass(frozen=True, kw_only=True)
class SweepTrial:
    """A trial as the search hands it to the backend that runs it."""

    key: str
    """Id of the trial in the sweep, such as ``t0001``."""

    settings: Mapping[str, Any]
    """Values of the fields of the trial's config."""

    case: str | None = None
    """Name of the trial's case; None in a search."""

    gpus: float | None = None
    """Share of a GPU, if it differs from that of the sweep's other trials; else None."""

    @cached_property
    def config(self) -> AnyTrialConfig:
        """The settings as a config of the trial's method."""
        return parse_settings(self.settings)

    @property
    def flat(self) -> dict[str, Any]:
        """All fields of this trial in one dict, as ``TrialRun.start`` and Tune expect it."""
        share = {} if self.gpus is None else {GPUS: self.gpus}
        return {"trial_id": self.key, "case": self.case, **share, **self.settings}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> SweepTrial:
        """Return the trial from a dict in the form of ``flat``."""
        return cls(key=flat["trial_id"], case=flat.get("case"), gpus=flat.get(GPUS), settings=trial_settings(flat))


class TrialQueue:
    """The trials of one session: first the trials that an earlier session left unfinished, then new ones.

    The queue reads the study and never writes to it.
    """

    def __init__(
        self,
        study: SweepStudy,
        sweep: SweepConfig,
        *,
        tried: TriedSettings,
        population: PopulationRule | None,
        completed_elsewhere: Mapping[Assignment, str],
        failed: Collection[int],
        may_start: Callable[[Collection[str]], bool],
    ) -> None:
        """Make the queue of one session. ``SweepSearch`` describes the arguments."""
        self._study = study
        self._sweep = sweep
        self._tried = tried
        self._population = population
        self._completed_elsewhere = completed_elsewhere
        self._failed = failed
        self._may_start = may_start
        known = {assignment_of(trial) for trial in self._counted_trials}
        self._assignments = [a for a in sweep.assignments() if a not in known and a not in completed_elsewhere]
        self._unfinished = [trial for trial in running_trials(study) if self._is_wanted(trial)]

    def next_number(self, running: Collection[str]) -> int | None:
        """Take the next trial from the queue, and return its number; ``started`` for a new trial.

        Returns None if no trial can start now: the next case waits for a student that is being trained, the next generation
        of a population waits for the previous one, the running trials are expected to use up the budget, or no trial is
        left.

        Args:
            running: Names of the running trials.
        """
        if not self._has_more or not self._may_start(running):
            return None
        if self._unfinished:
            if self._has_nothing_for(self._unfinished[0]):
                return None
            return self._unfinished.pop(0).number
        if self._assignments and self._next_assignment() is None:
            return None
        with naming(f"scheduler {self._sweep.scheduler.name}"):
            ready = self._population is None or self._population.is_ready(self.started, self.asked_for)
        return self.started if ready else None

    def put_back(self, number: int) -> None:
        """Put a trial that this session has started back into the queue."""
        self._unfinished.append(self._study.frozen(number))

    def take_assignment(self, trial: Trial) -> Assignment:
        """Return the case and seed for a trial from ``next_number``: the trial's own, else the next in the queue."""
        assignment = assignment_of(trial) or self._next_assignment()
        assert assignment is not None  # next_number has checked it
        if assignment in self._assignments:
            self._assignments.remove(assignment)
        return assignment

    def start_of(self, assignment: Assignment, sweep_id: str) -> str | None:
        """Return the ``SWEEP/TRIAL`` of the student from which a case starts, trained with the same seed; None if none."""
        start = self._start_of(assignment)
        if start is None:
            return None
        known = self._trial_of(start)  # cases run in order, so the trial exists by now
        return f"{sweep_id}/{trial_name(known.number)}" if known else self._completed_elsewhere[start]

    @property
    def started(self) -> int:
        """Number of trials created so far, in all sessions."""
        return len(self.asked_for)

    @property
    def asked_for(self) -> list[FrozenTrial]:
        """Trials created so far in all sessions, in the order of their numbers."""
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state is not TrialState.WAITING]

    @property
    def _has_more(self) -> bool:
        """Whether there are trials left to run that are not running."""
        if self._unfinished or self._assignments:
            return True
        if self._sweep.cases or self.started >= self._sweep.num_trials:
            return False
        return not self._tried.applies or self._tried.left(at_most=1) > 0

    def _is_wanted(self, trial: FrozenTrial) -> bool:
        """Return whether to resume a trial of an earlier session: not if its case is no longer part of the sweep."""
        if not self._sweep.cases:
            return True
        assignment = assignment_of(trial)
        return bool(self._assignments) if assignment is None else assignment in self._sweep.assignments()

    def _has_nothing_for(self, trial: FrozenTrial) -> bool:
        """Return whether a trial that has no case yet must wait until a case can run.

        A trial is left without a case if its driver died before choosing one.
        """
        return bool(self._sweep.cases) and assignment_of(trial) is None and self._next_assignment() is None

    def _next_assignment(self) -> Assignment | None:
        """Return the first assignment that can run now; None while all wait for students that are being trained."""
        for assignment in self._assignments:
            start = self._start_of(assignment)
            if start is None or start in self._completed_elsewhere:
                return assignment
            trial = self._trial_of(start)
            if trial is not None and trial.state is not TrialState.RUNNING:
                return assignment
        return None

    def _start_of(self, assignment: Assignment) -> Assignment | None:
        case = self._sweep.starting_case(assignment.case)
        return Assignment(case=case, seed=assignment.seed) if case else None

    def _trial_of(self, assignment: Assignment) -> FrozenTrial | None:
        return next((trial for trial in self._counted_trials if assignment_of(trial) == assignment), None)

    @property
    def _counted_trials(self) -> list[FrozenTrial]:
        """All trials but the failed ones whose cases run once more."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.number not in self._failed]
