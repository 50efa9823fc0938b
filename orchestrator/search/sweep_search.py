"""The search of a sweep: which trial is run next with which settings, and what the study learns of its end.

A trial that used its whole budget is COMPLETE to Optuna, one stopped early PRUNED with the values it reached, one that
failed or diverged FAIL. The study itself is on storage, so that a sweep started again goes on with the trials that were
running. Who runs the trials and follows them is told nothing here: ``run.callbacks.recorder`` reports and tells.
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
    """Whether a session can go on; the first error that says no stays.

    That is an error of the session and of none of its trials, which stay as they were: the study or a row could not be
    written, or trials do not measure what the search needs.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        """Why the session cannot go on."""

    def fail(self, error: Exception) -> None:
        """Have the session end."""
        self.failure = self.failure or error

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Take an error of storage, sampler, scheduler or space for the session's, before what runs the trials takes it for
        one of theirs.
        """
        try:
            yield
        except (OSError, pa.ArrowException, PartError) as error:
            self.fail(error)


class SweepSearch:
    """Suggests the trials of a sweep, first those that an earlier session left running.

    There is one study and one writer to it.
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
            study: What is known so far.
            sweep: What to run.
            space: What a search varies.
            sweep_id: Name of the sweep, under which its students are kept.
            health: The session's. Defaults to one of its own.
            first: Parameters of a search's very first trial; those not named are sampled.
            completed_elsewhere: Assignments that need no trial, since another sweep has one: its ``SWEEP/TRIAL``.
            past: Trials of other sweeps that inform the sampler.
            failed: Of a sweep of cases, numbers of trials that failed in earlier sessions: their cases run once more.
            may_start: Whether what may be spent allows another trial beside those that run.
            files: Files of the user's own that go to the trials; a trial that names another one is refused. None: any may.
            warn: Is told of a trial whose settings no config can have, and of the first that repeats another.
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
        """The last one that was made."""
        self._said_repeat = False
        if first and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))

    @property
    def running(self) -> Collection[str]:
        """Names of the trials that were suggested and have not ended. Each may come back: see ``run_again``."""
        return self._trials.keys()

    def suggest(self) -> SweepTrial | None:
        """Return the trial to be run next, or None if none can begin now.

        That is so while the next case starts from a student that is being trained, the next generation of a population from
        one that is, what may be spent is foreseen for those that run, or all that is left is running. While nothing runs,
        None means that nothing will come any more.
        """
        if self.health.failure:
            return None  # asking again would be to wait again
        with self.health.capture_errors(), self._study.transaction():
            return self._suggest()
        return None

    def _suggest(self) -> SweepTrial | None:
        while (number := self._queue.next_number(self.running)) is not None:
            self._seed_sampler(number)  # one to go on may have been left before its settings were chosen
            trial = self._study.resume(number) if number < self._queue.started else self._study.ask()
            key = trial_name(trial.number)
            try:
                settings = self._settings(trial)
                self._check_files(settings)
            except ConfigError as error:
                # Left running, it would be asked for again by every session, to the same end.
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
        """Raises: ConfigError: the space names a file of the user's own by rare chance only, which nobody could foresee."""
        unforeseen = set() if self._files is None else files_in(settings) - {*self._files}
        if unforeseen:
            raise ConfigError(
                f"{', '.join(sorted(unforeseen))}: the space names it too seldom to be found before the start; let it "
                "suggest the name as one of several choices"
            )

    def _seed_sampler(self, trial_number: int) -> None:
        """A sampler made anew for each trial, seeded by its number, proposes the same after any interruption."""
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
        """Keep the objective of a running trial after so much of its budget. The same report twice is kept once."""
        self._study.keep_report(self._trials[key].number, done, value)

    def run_again(self, key: str, *, gpus: float | None = None) -> None:
        """Suggest a trial once more, with its settings: it ended without having failed, as with a machine that was lost.

        Args:
            key: The trial.
            gpus: Another share of a GPU than it had. Defaults to the same.
        """
        trial = self._trials.pop(key)
        if gpus is not None:
            self._gpus[key] = gpus
        self._queue.put_back(trial.number)

    def tell(self, key: str, state: TrialState, report: Mapping[str, Any], *, share: float = 1.0) -> None:
        """Tell the study how a trial ended.

        Args:
            key: The trial.
            state: How.
            report: Its last; empty if there was none.
            share: Of its budget, used by then, in [0, 1].
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
        """The trial's settings, kept with it the first time, so that a later session runs the very same."""
        kept = trial.user_attrs.get(CONFIG_ATTRIBUTE)
        if kept is None:
            chosen = self._chosen_case(trial) if self._sweep.cases else self._chosen_settings(trial)
            kept = chosen.model_dump_json()
            trial.set_user_attr(CONFIG_ATTRIBUTE, kept)
        settings: dict[str, Any] = json.loads(kept)
        return settings | self._permissions(trial)

    def _permissions(self, trial: optuna.Trial) -> dict[str, Any]:
        """What a trial is allowed now, whatever it was when it began."""
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
