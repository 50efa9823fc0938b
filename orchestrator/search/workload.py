"""Counts the trials of a sweep: in all, ended, running, and still to be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import optuna

from orchestrator.config import Assignment, SweepConfig
from orchestrator.results import SweepSource, TrialState, results_of
from orchestrator.search.distinct import TriedSettings
from orchestrator.search.study import assignment_of, ended_trials, running_trials
from search_spaces import SearchSpace


@dataclass(kw_only=True)
class Workload:
    """The trials of one sweep in all its sessions. Follows the study: its counts change as trials end."""

    sweep: SweepConfig
    """Config of the sweep. ``Session`` replaces this config once calibration has chosen budget and resources, since the
    trials' settings depend on both."""

    study: optuna.Study
    completed_elsewhere: Mapping[Assignment, str]
    """In a sweep of cases, assignments that need no trial, each with the ``SWEEP/TRIAL`` of another sweep that has it."""

    failed: frozenset[int]
    """In a sweep of cases, numbers of the trials that failed in earlier sessions; their cases run once more."""

    space: SearchSpace
    """The search space."""

    _last_tried: TriedSettings | None = None
    """Settings tried so far, kept because reading all trials from the study again would take long."""

    @property
    def total(self) -> int:
        """Number of trials that the sweep will have: for a search, no more than its space has settings."""
        if self.sweep.cases:
            return self.sweep.num_trials - len(self.completed_elsewhere.keys() & set(self.sweep.assignments()))
        return self._tried.in_all(len(ended_trials(self.study)) + len(running_trials(self.study)))

    @property
    def used_up(self) -> str:
        """Message that a search has fewer settings than trials asked for; empty if it has enough."""
        if self.sweep.cases or self.total >= self.sweep.num_trials:
            return ""
        where = "space" if self.sweep.sampler.combinations is None else self.sweep.sampler.name
        have = "have been tried" if self.finished else "are to be tried"
        return f"all {self._tried.settings()} settings of the {where} {have}; {self.sweep.num_trials} trials were asked for"

    @property
    def ended(self) -> int:
        """Number of trials that have ended; for cases, the number of assignments with an ended trial."""
        if not self.sweep.cases:
            return len(ended_trials(self.study))
        return len(set(self.sweep.assignments()) - self.completed_elsewhere.keys()) - len(self.unended)

    @property
    def unended(self) -> set[Assignment]:
        """Assignments of a sweep of cases without an ended trial; failed trials to be repeated do not count as ended."""
        ended = {assignment_of(trial) for trial in ended_trials(self.study) if trial.number not in self.failed}
        return set(self.sweep.assignments()) - self.completed_elsewhere.keys() - ended

    @property
    def running(self) -> int:
        """Number of trials that are running, or that an earlier session left unfinished."""
        running = running_trials(self.study)
        if not self.sweep.cases:
            return len(running)
        return len(set(self.sweep.assignments()) & {assignment_of(trial) for trial in running})

    @property
    def finished(self) -> bool:
        """Whether all trials have ended."""
        return self.ended >= self.total

    def sentence(self, *, kept_in: str) -> str:
        """Return a sentence about the trials that a session starting now will run."""
        ended, running, again = self.ended, self.running, self._again
        line = f"{self.total} trials, kept in {kept_in}"
        if self.used_up:
            line += f"; {self.used_up}"
            if self.finished:
                return f"{line}. Run it anew with --sweep-id NAME"
        if self.finished:
            more = "--seeds" if self.sweep.cases else "--num-trials"
            return f"{line}; all of them have ended. Add more with {more}, or run it anew with --sweep-id NAME"
        if not (ended or running or again):
            return line
        new = max(0, self.total - ended - running)
        line += f"; {ended} ended before, {running} resume from their checkpoints, {new} are new"
        return f"{line}, {again} of them because they failed before" if again else line

    @property
    def _tried(self) -> TriedSettings:
        if self._last_tried is None or self._last_tried.sweep is not self.sweep:
            self._last_tried = TriedSettings(sweep=self.sweep, space=self.space, study=self.study)
        return self._last_tried

    @property
    def _again(self) -> int:
        """Number of assignments that run once more because their only trials have failed."""
        trials = self.study.get_trials(deepcopy=False)
        failed = {assignment_of(trial) for trial in trials if trial.number in self.failed}
        others = {assignment_of(trial) for trial in trials if trial.number not in self.failed}
        return len(set(self.sweep.assignments()) & failed - others) if self.sweep.cases else 0


def failed_cases(source: SweepSource) -> frozenset[int]:
    """Return the numbers of the failed trials of cases, which run once more since the error may have been fixed.

    Empty for a search, which learns from failures and tries other settings.
    """
    rows = results_of(source).trials()
    return frozenset(row.trial_number for row in rows if row.case is not None and row.state is TrialState.FAILED)
