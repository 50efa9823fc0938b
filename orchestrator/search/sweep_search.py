"""The search of a sweep: chooses the next trial and its settings, and records in the study how each trial ended.

For Optuna a trial that used its whole budget is COMPLETE; a trial that was stopped early is PRUNED, with the values that it
reached; a trial that failed or diverged is FAIL. The study lies on the sweep's storage, so that a restarted sweep resumes
the trials that were running. This module does not run trials: ``run.callbacks.recorder`` passes on their reports and ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any

import optuna
import pyarrow as pa
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from orchestrator.config import Assignment, SweepConfig
from orchestrator.errors import ConfigError, PartError, naming
from orchestrator.results import TrialState
from orchestrator.search.distinct import DistinctSampler, TriedSettings
from orchestrator.search.named_sampler import NamedSampler, build_sampler
from orchestrator.search.outcomes import optuna_constraints, optuna_state, optuna_values
from orchestrator.search.sampling import InformedSampler, keep_search_space
from orchestrator.search.study import (
    ASSIGNMENT_ATTRIBUTE,
    CONFIG_ATTRIBUTE,
    DIVERGED_ATTRIBUTE,
    SweepStudy,
    assignment_of,
)
from orchestrator.search.trial_queue import SweepTrial, TrialQueue
from orchestrator.storage.layout import trial_name
from search_spaces import SearchSpace
from search_spaces.fields import PinnedTrial
from trainables.config import AnyTrialConfig, permission_fields
from trainables.system.own_files import files_in


class SessionHealth:
    """The first error that makes a session end, if any.

    Such an error concerns the session, not a trial; the trials stay as they are. Examples: the study or a row could not be
    written, or trials do not measure a metric that the search needs.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        """The error that ends the session; None while the session can continue."""

    def fail(self, error: Exception) -> None:
        """Make the session end with an error, unless an earlier error ends it already."""
        self.failure = self.failure or error

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Record an error of storage, sampler, scheduler or space in the block as the session's.

        Otherwise the backend would take the error for a trial's.
        """
        try:
            yield
        except (OSError, pa.ArrowException, PartError) as error:
            self.fail(error)


class SweepSearch:
    """Suggests the trials of a sweep, first the trials that an earlier session left running.

    A sweep has one study, with one writer.
    """

    def __init__(
        self,
        study: SweepStudy,
        sweep: SweepConfig,
        space: SearchSpace,
        *,
        sweep_id: str,
        health: SessionHealth | None = None,
        first: Mapping[str, Any] | None = None,
        completed_elsewhere: Mapping[Assignment, str] | None = None,
        past: Sequence[FrozenTrial] = (),
        failed: Collection[int] = (),
        may_start: Callable[[Collection[str]], bool] = lambda running: True,
        files: Collection[str] | None = None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Make the search of one session.

        Args:
            study: Study of the sweep.
            sweep: Config of the sweep.
            space: The search space.
            sweep_id: Id of the sweep, under which its students are stored.
            health: Health of the session. Defaults to a new one.
            first: Parameters of a search's first trial; fields without a value here are sampled.
            completed_elsewhere: Assignments that need no trial, each with the ``SWEEP/TRIAL`` of another sweep that has it.
            past: Trials of other sweeps that inform the sampler.
            failed: In a sweep of cases, numbers of the trials that failed in earlier sessions; their cases run once more.
            may_start: Function that returns whether the spending limit allows another trial beside the running ones, given
                their names.
            files: The user's own files that are sent to the trials; a trial that names another file is refused. None means
                that any file is allowed.
            warn: Function called with a message about a trial without valid settings, and about the first trial that repeats
                another trial's settings.
        """
        self.health = health or SessionHealth()
        self._study = study
        self._sweep = sweep
        self._space = space
        self._trials: dict[str, optuna.Trial] = {}
        self._gpus: dict[str, float] = {}
        self._sweep_id = sweep_id
        self._past = past
        self._files = files
        self._warn = warn
        with self._naming_scheduler():
            self._population = sweep.scheduler.build_population(seed=sweep.seed, mode=sweep.mode, trial_name=trial_name)
        self._tried = TriedSettings(sweep=sweep, space=space, study=study)
        self._queue = TrialQueue(
            study,
            sweep,
            tried=self._tried,
            population=self._population,
            completed_elsewhere=completed_elsewhere or {},
            failed=failed,
            may_start=may_start,
        )
        self._sampler: BaseSampler | None = None
        """The sampler built last, without its wrappers."""
        self._said_repeat = False
        if first and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))

    @property
    def running(self) -> Collection[str]:
        """Names of the trials that were suggested and have not ended. Each may be suggested again: see ``run_again``."""
        return self._trials.keys()

    def suggest(self) -> SweepTrial | None:
        """Return the next trial to run, or None if no trial can start now.

        None is returned while the next case waits for a student that is being trained, while the next generation of a
        population waits for the previous one, while the running trials are expected to use up the budget, or when all
        remaining trials are running. If no trial is running, None means that no further trial will follow.
        """
        if self.health.failure:
            return None  # another attempt would wait for storage again
        with self.health.capture_errors(), self._study.transaction():
            return self._suggest()
        return None

    def _suggest(self) -> SweepTrial | None:
        while (number := self._queue.next_number(self.running)) is not None:
            self._seed_sampler(number)  # a resumed trial may have no settings yet
            trial = self._study.resume(number) if number < self._queue.started else self._study.ask()
            key = trial_name(trial.number)
            try:
                settings = self._settings(trial)
                self._check_files(settings)
            except ConfigError as error:
                # If the trial were left running, every session would try it again and fail in the same way.
                self._study.tell(trial, state=OptunaState.FAIL)
                self._warn(f"{key} failed before it began: {error}")
                continue
            self._trials[key] = trial
            assignment = assignment_of(trial)
            return SweepTrial(
                key=key, case=assignment.case if assignment else None, gpus=self._gpus.get(key), settings=settings
            )
        return None

    def _check_files(self, settings: Mapping[str, Any]) -> None:
        """Check that all files of the user's own that a trial's settings name were found before the start.

        Raises:
            ConfigError: the space suggests a file so rarely that it was not found.
        """
        unforeseen = set() if self._files is None else files_in(settings) - {*self._files}
        if unforeseen:
            raise ConfigError(
                f"{', '.join(sorted(unforeseen))}: the space suggests this file too rarely for it to be found before the "
                "start; let the space suggest the name as one of several choices"
            )

    def _seed_sampler(self, trial_number: int) -> None:
        """Give the study a new sampler for a trial, seeded by the trial's number.

        So the same settings are proposed after any interruption.
        """
        with self._naming_scheduler():
            successor = self._population and self._population.sampler(trial_number, self._queue.asked_for)
        if successor:
            self._study.sampler = successor
        else:
            config = self._sweep.sampler
            made = build_sampler(config, seed=self._sweep.seed, trial_number=trial_number)
            keep_search_space(made, of=self._sampler)
            self._sampler = made
            named = NamedSampler(made, config.name)
            sampler = InformedSampler(named, self._past, self._study) if self._past else named
            distinct = DistinctSampler(sampler, self._tried, warn=self._warn_of_repeat)
            self._study.sampler = distinct if self._tried.applies else sampler

    def _naming_scheduler(self) -> AbstractContextManager[None]:
        return naming(f"scheduler {self._sweep.scheduler.name}")

    def _warn_of_repeat(self, line: str) -> None:
        if not self._said_repeat:
            self._said_repeat = True
            self._warn(line)

    def report(self, key: str, done: int, value: float) -> None:
        """Store the objective of a running trial after ``done`` of its budget. A repeated report is stored once."""
        self._study.keep_report(self._trials[key].number, done, value)

    def run_again(self, key: str, *, gpus: float | None = None) -> None:
        """Put a trial back to be suggested again with its settings, since it ended without having failed.

        This happens, for example, when a node is lost.

        Args:
            key: Name of the trial.
            gpus: The trial's new share of a GPU. None means no change.
        """
        trial = self._trials.pop(key)
        if gpus is not None:
            self._gpus[key] = gpus
        self._queue.put_back(trial.number)

    def tell(self, key: str, state: TrialState, report: Mapping[str, Any], *, share: float = 1.0) -> None:
        """Record in the study how a trial ended.

        Args:
            key: Name of the trial.
            state: State in which the trial ended.
            report: Last report of the trial; empty if there was none.
            share: Share of its budget that the trial has used, in [0, 1].
        """
        trial = self._trials.pop(key)
        told = optuna_state(state)
        with self._study.transaction():
            for name, violation in optuna_constraints(self._sweep, state, report, share).items():
                trial.set_constraint(name, violation)
            if state is TrialState.DIVERGED:
                trial.set_user_attr(DIVERGED_ATTRIBUTE, True)
            values = optuna_values(self._sweep, report) if told is OptunaState.COMPLETE else None
            self._study.tell(trial, values, state=told)

    def _settings(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the trial's settings, chosen and stored by the first call, so that later sessions use the same ones."""
        kept = trial.user_attrs.get(CONFIG_ATTRIBUTE)
        if kept is None:
            chosen = self._chosen_case(trial) if self._sweep.cases else self._chosen_settings(trial)
            kept = chosen.model_dump_json()
            trial.set_user_attr(CONFIG_ATTRIBUTE, kept)
        settings: dict[str, Any] = json.loads(kept)
        return settings | self._permissions(trial)

    def _permissions(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the permissions that a trial has in this session, whatever they were when the trial started."""
        assignment = assignment_of(trial)
        now = self._sweep.case_config(assignment) if assignment else self._sweep.configs()[0]
        return {name: getattr(now, name) for name in permission_fields(type(now))}

    def _chosen_settings(self, trial: optuna.Trial) -> AnyTrialConfig:
        config = self._sweep.trial_config(self._space(PinnedTrial(trial, self._sweep.trial)))
        if self._population:
            with self._naming_scheduler():
                return self._population.config(trial.number, config, self._queue.asked_for)
        return config

    def _chosen_case(self, trial: optuna.Trial) -> AnyTrialConfig:
        assignment = self._queue.take_assignment(trial)
        config = self._sweep.case_config(assignment)
        student = self._queue.start_of(assignment, self._sweep_id)
        if student:
            config = config.model_copy(update={"initial_student": student})
        trial.set_user_attr(ASSIGNMENT_ATTRIBUTE, asdict(assignment))
        return config
