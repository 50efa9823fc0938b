"""Optuna ask/tell behind Tune's ``Searcher``.

Tune's own ``OptunaSearch`` tells Optuna that a trial stopped early is complete, at its low budget; leaves a trial whose
metric is NaN running for ever; and keeps its memory in a pickle that a crash leaves behind the truth. Here a trial that
used its whole budget is COMPLETE, one stopped early PRUNED with the values it reached, one that failed or diverged FAIL;
and the study itself is on storage, so that a sweep started again goes on with the trials that were running.

Tune tells a searcher of results before it tells callbacks. The study must learn of an end only once the trial's row is
safe, or a crash between the two would lose the row. So ``SweepRecorder`` (``callbacks.py``) reports and tells, and the
methods by which Tune would do so are empty here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import optuna
import pyarrow as pa
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from orchestrator.config import Assignment, SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.search.distinct import DistinctSampler, TriedSettings
from orchestrator.search.journal import one_step
from orchestrator.search.outcomes import EndState, told_state, told_values, told_violations
from orchestrator.search.sampling import InformedSampler, keep_search_space
from orchestrator.search.study import (
    ASSIGNMENT_ATTRIBUTE,
    CONFIG_ATTRIBUTE,
    DIVERGED_ATTRIBUTE,
    assignment_of,
    running_trials,
)
from orchestrator.storage.layout import trial_name
from search_spaces import SearchSpace
from search_spaces.fields import PinnedTrial
from trainables.config import PERMISSION_FIELDS, AnyTrialConfig, ZeroShotConfig
from trainables.trial_result import GPUS


class StudySearcher(Searcher):
    """Suggests the trials of a sweep, first those that an earlier session left running.

    There is one study and one writer to it: the searcher is never copied, and its pickle (Tune makes one that nobody
    reads) holds nothing.
    """

    def __init__(
        self,
        study: optuna.Study,
        sweep: SweepConfig,
        space: SearchSpace,
        *,
        sweep_id: str,
        first: Mapping[str, Any] | None = None,
        settled: Mapping[Assignment, str] | None = None,
        past: Sequence[FrozenTrial] = (),
        failed: Collection[int] = (),
        may_start: Callable[[Collection[str]], bool] = lambda running: True,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Make the searcher of one session.

        Args:
            study: What is known so far.
            sweep: What to run.
            space: What a search varies.
            sweep_id: Name of the sweep, under which its students are kept.
            first: Parameters of a search's very first trial; those not named are sampled.
            settled: Assignments that need no trial, since another sweep has one: its ``SWEEP/TRIAL``.
            past: Trials of other sweeps that inform the sampler.
            failed: Of a sweep of cases, numbers of trials that failed in earlier sessions: their cases run once more.
            may_start: Whether what may be spent allows another trial beside those that run.
            warn: Is told of a trial whose settings no config can have, and of the first that repeats another.
        """
        super().__init__()
        self._study = study
        self._sweep = sweep
        self._space = space
        self.ended_by: Exception | None = None
        """Why the session cannot go on: the study or a row could not be written, or trials do not measure what the search
        needs. Trials stay as they were."""
        self._trials: dict[str, optuna.Trial] = {}
        self._gpus: dict[str, float] = {}
        self._sweep_id = sweep_id
        self._settled = dict(settled or {})
        self._past = past
        self._may_start = may_start
        self._warn = warn
        self._population = sweep.scheduler.build_population(seed=sweep.seed, mode=sweep.mode, trial_name=trial_name)
        self._tried = TriedSettings(sweep=sweep, space=space, study=study)
        self._sampler: BaseSampler | None = None
        """The last one that was made."""
        self._said_repeat = False
        self._failed = failed
        known = {assignment_of(trial) for trial in self._counted_trials}
        self._assignments = [a for a in sweep.assignments() if a not in known and a not in self._settled]
        self._unfinished = [trial for trial in running_trials(study) if self._is_wanted(trial)]
        if first and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial: ``trial_id``, ``case`` and the fields of its config; or ``FINISHED``.

        None if nothing can be run now: the session is at its end, the next case starts from a student that is being
        trained, the next generation of a population from one that is, what may be spent is foreseen for those that run, or
        all that is left is running.
        """
        if self.ended_by:
            return None  # asking again would be to wait again
        with self.watching_storage(), one_step(self._study):
            return self._suggest()
        return None

    @contextmanager
    def watching_storage(self) -> Iterator[None]:
        """Keep an error of storage for the driver to see, instead of letting Tune take it for the trial's."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            self.ended_by = self.ended_by or error

    def _suggest(self) -> dict[str, Any] | str | None:
        while isinstance(trial := self._next_trial(), optuna.Trial):
            key = trial_name(trial.number)
            try:
                config = self._config(trial)
            except ConfigError as error:
                # Left running, it would be asked for again by every session, to the same end.
                self._study.tell(trial, state=TrialState.FAIL)
                self._warn(f"{key} failed before it began: {error}")
                continue
            self._trials[key] = trial
            assignment = assignment_of(trial)
            share = {GPUS: self._gpus[key]} if key in self._gpus else {}
            return {"trial_id": key, "case": assignment.case if assignment else None, **share, **config}
        return trial

    def _next_trial(self) -> optuna.Trial | str | None:
        """The trial to be run next; or what ``suggest`` answers where there is none."""
        if not self._has_more or not self._may_start(self._trials.keys()):
            return self._nothing_more
        if self._unfinished:
            if self._has_nothing_for(self._unfinished[0]):
                return None
            left = self._unfinished.pop(0)
            self._seed_sampler(left.number)  # it may have died before its settings were chosen
            return optuna.Trial(self._study, left._trial_id)
        if self._assignments and self._next_assignment() is None:
            return None
        if self._population and not self._population.is_ready(self.trials_started, self._trials_asked_for):
            return None
        self._seed_sampler(self.trials_started)
        return self._study.ask()

    @property
    def _has_more(self) -> bool:
        """Whether there are trials to be run that do not run."""
        if self._unfinished or self._assignments:
            return True
        if self._sweep.cases or self.trials_started >= self._sweep.num_trials:
            return False
        return not self._tried.applies or self._tried.left(at_most=1) > 0

    @property
    def _nothing_more(self) -> str | None:
        # One that runs may come back: see run_again.
        return None if self._trials else str(Searcher.FINISHED)

    def _has_nothing_for(self, trial: FrozenTrial) -> bool:
        """Whether a trial whose driver died before it was settled has to wait for an assignment that can run."""
        return bool(self._sweep.cases) and assignment_of(trial) is None and self._next_assignment() is None

    def _next_assignment(self) -> Assignment | None:
        """The first that can run now; none while each one starts from a student that is still being trained."""
        for assignment in self._assignments:
            start = self._start_of(assignment)
            if start is None or start in self._settled:
                return assignment
            trial = self._trial_of(start)
            if trial is not None and trial.state is not TrialState.RUNNING:
                return assignment
        return None

    def _start_of(self, assignment: Assignment) -> Assignment | None:
        """Whose student a trial starts from: that of the case it names, with the same seed."""
        case = self._sweep.starting_case(assignment.case)
        return Assignment(case=case, seed=assignment.seed) if case else None

    def _trial_of(self, assignment: Assignment) -> FrozenTrial | None:
        return next((trial for trial in self._counted_trials if assignment_of(trial) == assignment), None)

    @property
    def _counted_trials(self) -> list[FrozenTrial]:
        """All but those whose cases run once more."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.number not in self._failed]

    def _seed_sampler(self, trial_number: int) -> None:
        """A sampler made anew for each trial, seeded by its number, proposes the same after any interruption."""
        successor = self._population and self._population.sampler(trial_number, self._trials_asked_for)
        if successor:
            self._study.sampler = successor
        else:
            made = self._sweep.sampler.build(seed=self._sweep.seed, trial_number=trial_number)
            keep_search_space(made, of=self._sampler)
            self._sampler = made
            sampler = InformedSampler(made, self._past, self._study) if self._past else made
            distinct = DistinctSampler(sampler, self._tried, warn=self._warn_of_repeat)
            self._study.sampler = distinct if self._tried.applies else sampler

    def _warn_of_repeat(self, line: str) -> None:
        if not self._said_repeat:
            self._said_repeat = True
            self._warn(line)

    @property
    def _trials_asked_for(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state is not TrialState.WAITING]

    @property
    def trials_started(self) -> int:
        """Trials asked for so far, in all sessions."""
        return len(self._trials_asked_for)

    def report(self, key: str, done: int, value: float) -> None:
        """Keep the objective of a running trial after so much of its budget. The same report twice is kept once."""
        trial_id = self._trials[key]._trial_id
        storage = self._study._storage
        if done not in storage.get_trial(trial_id).intermediate_values:
            # What trial.report() does, which declines where there are several objectives.
            storage.set_trial_intermediate_value(trial_id, done, value)

    def run_again(self, key: str, *, gpus: float | None = None) -> None:
        """Suggest a trial once more, with its settings: it ended without having failed, as with a machine that was lost.

        Args:
            key: The trial.
            gpus: Another share of a GPU than it had; none: the same.
        """
        trial = self._trials.pop(key)
        if gpus is not None:
            self._gpus[key] = gpus
        self._unfinished.append(self._study._storage.get_trial(trial._trial_id))

    def tell(self, key: str, state: EndState, report: Mapping[str, Any], *, share: float = 1.0) -> None:
        """Tell the study how a trial ended.

        Args:
            key: The trial.
            state: How.
            report: Its last; empty if there was none.
            share: Of its budget, used by then, in [0, 1].
        """
        trial = self._trials.pop(key)
        told = told_state(state)
        with one_step(self._study):
            for name, violation in told_violations(self._sweep, state, report, share).items():
                trial.set_constraint(name, violation)
            if state == "diverged":
                trial.set_user_attr(DIVERGED_ATTRIBUTE, True)
            values = told_values(self._sweep, report) if told is TrialState.COMPLETE else None
            self._study.tell(trial, values, state=told)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: see the module."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: see the module."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on storage already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is continued by starting it again."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def _config(self, trial: optuna.Trial) -> dict[str, Any]:
        """The trial's settings, kept with it the first time, so that a later session runs the very same."""
        kept = trial.user_attrs.get(CONFIG_ATTRIBUTE)
        if kept is None:
            chosen = self._chosen_case(trial) if self._sweep.cases else self._chosen_settings(trial)
            kept = chosen.model_dump_json()
            trial.set_user_attr(CONFIG_ATTRIBUTE, kept)
        config: dict[str, Any] = json.loads(kept)
        return config | self._permissions(trial)

    def _permissions(self, trial: optuna.Trial) -> dict[str, Any]:
        """What a trial is allowed now, whatever it was when it began."""
        assignment = assignment_of(trial)
        now = self._sweep.case_config(assignment) if assignment else self._sweep.configs()[0]
        return {name: getattr(now, name) for name in PERMISSION_FIELDS if name in type(now).model_fields}

    def _is_wanted(self, trial: FrozenTrial) -> bool:
        """Whether a trial that an earlier session left is to go on: not if it is of a case that is not to be run now."""
        if not self._sweep.cases:
            return True
        assignment = assignment_of(trial)
        return bool(self._assignments) if assignment is None else assignment in self._sweep.assignments()

    def _chosen_settings(self, trial: optuna.Trial) -> AnyTrialConfig:
        config = self._sweep.trial_config(self._space(PinnedTrial(trial, self._sweep.trial)))
        if self._population and isinstance(config, ZeroShotConfig):
            return self._population.config(trial.number, config, self._trials_asked_for)
        return config

    def _chosen_case(self, trial: optuna.Trial) -> AnyTrialConfig:
        assignment = assignment_of(trial) or self._next_assignment()
        assert assignment is not None  # asked before
        if assignment in self._assignments:
            self._assignments.remove(assignment)
        config = self._sweep.case_config(assignment)
        start = self._start_of(assignment)
        if start:
            # Cases are asked for in order, so the one that others start from is known by now.
            known = self._trial_of(start)
            student = f"{self._sweep_id}/{trial_name(known.number)}" if known else self._settled[start]
            config = config.model_copy(update={"initial_student": student})
        trial.set_user_attr(ASSIGNMENT_ATTRIBUTE, asdict(assignment))
        return config
