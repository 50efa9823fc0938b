"""Which trials a sweep is to have, and how many of them have ended, go on, or are still to come."""

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
    """Of one sweep, in all its sessions. It follows the study: what it says changes as trials end."""

    sweep: SweepConfig
    """What is run. ``Session`` replaces it once calibration has settled budget and resources, since the settings of trials
    depend on them."""

    study: optuna.Study
    completed_elsewhere: Mapping[Assignment, str]
    """Of a sweep of cases, what need not be run since another sweep has it."""

    failed: frozenset[int]
    """Of a sweep of cases, numbers of trials that failed in earlier sessions: their cases run once more."""

    space: SearchSpace
    """What a search varies."""

    _last_tried: TriedSettings | None = None
    """It remembers how far it has looked."""

    @property
    def total(self) -> int:
        """Trials that the sweep is to have: of a search no more than its space is good for."""
        if self.sweep.cases:
            return self.sweep.num_trials - len(self.completed_elsewhere.keys() & set(self.sweep.assignments()))
        return self._tried.in_all(len(ended_trials(self.study)) + len(running_trials(self.study)))

    @property
    def used_up(self) -> str:
        """That a search had fewer settings than it was to have trials, in words; empty if it has not."""
        if self.sweep.cases or self.total >= self.sweep.num_trials:
            return ""
        where = "space" if self.sweep.sampler.combinations is None else self.sweep.sampler.name
        have = "have been tried" if self.finished else "are to be tried"
        return f"all {self._tried.settings()} settings of the {where} {have}; {self.sweep.num_trials} trials were asked for"

    @property
    def ended(self) -> int:
        """Those of them that have ended."""
        if not self.sweep.cases:
            return len(ended_trials(self.study))
        return len(set(self.sweep.assignments()) - self.completed_elsewhere.keys()) - len(self.unended)

    @property
    def unended(self) -> set[Assignment]:
        """Of a sweep of cases, those of which no trial has ended."""
        ended = {assignment_of(trial) for trial in ended_trials(self.study) if trial.number not in self.failed}
        return set(self.sweep.assignments()) - self.completed_elsewhere.keys() - ended

    @property
    def running(self) -> int:
        """Those that run, or that an earlier session left before their end."""
        running = running_trials(self.study)
        if not self.sweep.cases:
            return len(running)
        return len(set(self.sweep.assignments()) & {assignment_of(trial) for trial in running})

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self.ended >= self.total

    def sentence(self, *, kept_in: str) -> str:
        """What a session that begins now will do."""
        ended, running, again = self.ended, self.running, self._again
        line = f"{self.total} trials, kept in {kept_in}"
        if self.used_up:
            line += f"; {self.used_up}"
            if self.finished:
                return f"{line}. The same anew with --sweep-id NAME"
        if self.finished:
            more = "--seeds" if self.sweep.cases else "--num-trials"
            return f"{line}; all of them have ended. More with {more}, the same anew with --sweep-id NAME"
        if not (ended or running or again):
            return line
        new = max(0, self.total - ended - running)
        line += f"; {ended} ended before, {running} go on from their checkpoints, {new} are new"
        return f"{line}, {again} of them because they failed before" if again else line

    @property
    def _tried(self) -> TriedSettings:
        if self._last_tried is None or self._last_tried.sweep is not self.sweep:
            self._last_tried = TriedSettings(sweep=self.sweep, space=self.space, study=self.study)
        return self._last_tried

    @property
    def _again(self) -> int:
        """Cases to be run of which a trial has failed."""
        trials = self.study.get_trials(deepcopy=False)
        failed = {assignment_of(trial) for trial in trials if trial.number in self.failed}
        others = {assignment_of(trial) for trial in trials if trial.number not in self.failed}
        return len(set(self.sweep.assignments()) & failed - others) if self.sweep.cases else 0


def failed_cases(source: SweepSource) -> frozenset[int]:
    """Return the numbers of the trials of cases that an error has ended: what was wrong may have been mended since.

    None of a search, which learns from failures and goes on with other settings.
    """
    rows = results_of(source).trials()
    return frozenset(row.trial_number for row in rows if row.case is not None and row.state is TrialState.FAILED)
