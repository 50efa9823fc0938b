"""A search trains no settings twice: equal settings with one seed are one trial, bit for bit.

A sampler may propose what it has proposed before. It is then asked again, some times, and after that the first untried
combination is taken from a place in the space that follows from the seed. What failed of an error is tried once more, when
nothing else is left. All of this happens before the trial has parameters: of what was proposed and not taken it gets none.
What samplers note down for themselves stays: QMC takes one place of its sequence, counted in the study, for each proposal;
CMA-ES keeps its state and generation with the trial, and GP and TPE (with several variables and ``constant_liar``) the last
values that they proposed jointly, before which the trial's own parameters go.

Whether a space is finite is known of one that is written in the sweep's file, and of a grid; a function may suggest
anything, and settings that have been tried may then run once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.config import SweepConfig
from orchestrator.config.spaces import find_space
from orchestrator.errors import ConfigError
from orchestrator.results import TrialState, kept_config
from orchestrator.samplers.independent import contains
from orchestrator.search.study import CONFIG_ATTRIBUTE, DIVERGED_ATTRIBUTE, settings_of_trial
from orchestrator.storage.layout import trial_name
from search_spaces import InlineSpace, SearchSpace, space_names
from search_spaces.fields import PinnedTrial
from trainables.config import AnyTrialConfig, permission_fields
from trainables.config.base import derive_seed

_ASKED = 10
"""How often a sampler is asked for settings that are new; one with a model may take a second each time."""

_DRAWN = 100
"""How often settings are then drawn at random."""


class Draft:
    """What a space uses of an Optuna trial, kept in memory."""

    def __init__(self, choose: Callable[[str, BaseDistribution], Any]) -> None:
        self._choose = choose
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object:
        return self._suggest(name, CategoricalDistribution(choices))

    def _suggest(self, name: str, domain: BaseDistribution) -> Any:
        if name not in self.params:
            self.params[name] = self._choose(name, domain)
            self.distributions[name] = domain
        return self.params[name]


@dataclass(frozen=True, kw_only=True)
class TriedSettings:
    """Which settings of a search have been tried, and which have not. It follows the study."""

    sweep: SweepConfig
    space: SearchSpace
    study: Study | None
    """None: what is remembered is all."""

    _ended: dict[AnyTrialConfig, int] = field(default_factory=dict)
    """Settings of trials that have ended, as far as was looked before: there may be thousands."""

    _failed_once: set[AnyTrialConfig] = field(default_factory=set)
    """Those of them of which one trial alone was begun, and failed of an error: it may have been the machine's."""

    _looked_at: set[int] = field(default_factory=set)
    """Numbers of trials that had ended by then."""

    _combinations: dict[int, tuple[Draft, AnyTrialConfig] | None] = field(default_factory=dict)
    """Of a finite space those that were looked at before, by place; none where fields do not go together."""

    @property
    def applies(self) -> bool:
        """Whether the sweep has no use for repeats, as cases have and a population, whose members go on with their own."""
        return not self.sweep.cases and not self.sweep.scheduler.is_population

    def config(self, draft: Draft) -> AnyTrialConfig:
        """The settings that a draft of a trial comes to.

        Raises:
            ConfigError: no config can have them.
        """
        return _told_apart(self.sweep.trial_config(self.space(PinnedTrial(draft, self.sweep.trial))))

    def remember(self, config: AnyTrialConfig, number: int, *, failed: bool) -> None:
        """Take in a trial that has ended.

        Args:
            config: Its settings.
            number: Its number.
            failed: Whether of an error; what diverged would diverge again.
        """
        settings = _told_apart(config)
        if failed and settings not in self._ended:
            self._failed_once.add(settings)
        else:
            self._failed_once.discard(settings)
        self._ended.setdefault(settings, number)

    def known(self) -> dict[AnyTrialConfig, int]:
        """Settings that have been tried, each with the number of a trial that runs with them or has ended in some way."""
        return self._ended | self._running()

    def untried(self, *, first: int = 0) -> Iterator[Draft]:
        """Combinations of a finite space that are still to be tried, each once; nothing of a space not known to be finite.

        Those that are new come first, then those whose only trial failed of an error.

        Args:
            first: Place in the space to begin with, of any size.
        """
        known = set(self.known())
        yield from (draft for draft, config in self._combinations_from(first) if config not in known)
        again = self._failed_once - self._running().keys()
        if again:
            yield from (draft for draft, config in self._combinations_from(first) if config in again)

    def left(self, *, at_most: int) -> int:
        """How many trials are still to come, counted no further than ``at_most``, which a space without end always has."""
        return at_most if self._values is None else sum(1 for _ in islice(self.untried(), at_most))

    def in_all(self, asked_for: int) -> int:
        """Trials that the sweep is to have, of which so many have been asked for: no more than its space is good for."""
        more = self.sweep.num_trials - asked_for
        return asked_for + self.left(at_most=more) if self.applies and more > 0 else self.sweep.num_trials

    def settings(self) -> int:
        """How many settings have been tried or are in a finite space."""
        return len(self.known().keys() | {config for _, config in self._combinations_from(0)})

    def _running(self) -> dict[AnyTrialConfig, int]:
        """Settings of trials that run; what has ended since the last look is remembered."""
        running: dict[AnyTrialConfig, int] = {}
        for trial in self.study.get_trials(deepcopy=False) if self.study else ():
            if trial.number in self._looked_at:
                continue
            ended = trial.state.is_finished()
            if CONFIG_ATTRIBUTE in trial.user_attrs:
                config = kept_config(settings_of_trial(trial))
                if ended:
                    failed = trial.state is OptunaState.FAIL and DIVERGED_ATTRIBUTE not in trial.user_attrs
                    self.remember(config, trial.number, failed=failed)
                else:
                    running.setdefault(_told_apart(config), trial.number)
            if ended:
                self._looked_at.add(trial.number)
        return running

    def _combinations_from(self, first: int) -> Iterator[tuple[Draft, AnyTrialConfig]]:
        """Those of a finite space that a config can have, each once; nothing of a space not known to be finite."""
        values = self._values
        if values is None:
            return
        seen: set[AnyTrialConfig] = set()
        size = math.prod(len(found) for found in values.values())
        for place in range(first, first + size):
            found = self._combination(values, place % size)
            if found is not None and found[1] not in seen:
                seen.add(found[1])
                yield found

    @property
    def _values(self) -> Mapping[str, Sequence[Any]] | None:
        """All values of each searched field of a finite space; none where it is not known to be one."""
        if self.sweep.sampler.combinations is not None:
            return self.sweep.sampler.combinations
        values = self.space.values if isinstance(self.space, InlineSpace) else None
        return values and {name: found for name, found in values.items() if name not in self.sweep.trial}

    def _combination(self, values: Mapping[str, Sequence[Any]], place: int) -> tuple[Draft, AnyTrialConfig] | None:
        """What is at a place in the space, the last field's values following each other."""
        if place not in self._combinations:
            chosen, rest = {}, place
            for name, choices in reversed(list(values.items())):
                rest, index = divmod(rest, len(choices))
                chosen[name] = choices[index]
            draft = Draft(lambda name, domain: chosen[name])
            try:
                self._combinations[place] = draft, self.config(draft)
            except ConfigError:
                self._combinations[place] = None
        return self._combinations[place]


def _told_apart(config: AnyTrialConfig) -> AnyTrialConfig:
    """The settings that make a trial another one: without what only lets it run."""
    return config.model_copy(update=dict.fromkeys(permission_fields(type(config)), False))


def trials_in_all(board: Leaderboard) -> int:
    """Count the trials that a sweep is to have, as the sweep itself counts them; of one that has finished, those it had."""
    if board.finished:
        return len(board.rows)
    in_all = board.sweep.num_trials
    space = board.sweep.space
    if isinstance(space, Mapping) or space in space_names():  # no end is known of a user's, which may not be here
        tried = TriedSettings(sweep=board.sweep, space=find_space(space, board.sweep.search), study=None)
        for row in board.rows:
            tried.remember(row.config, row.trial_number, failed=row.state is TrialState.FAILED)
        in_all = tried.in_all(len(board.rows))  # those that run are among the untried here
    return max(in_all, len(board.rows))


def ended_of_all(board: Leaderboard) -> str:
    """Say how many trials have ended, of those there are to be: ``17 of 18``. One that failed and its successor are two."""
    return f"{len(board.rows)} of {trials_in_all(board)}"


class DistinctSampler(BaseSampler):
    """Proposes for one trial what another sampler does, but no settings that have been tried.

    All is drawn when the trial is begun, as if jointly; the trial then finds each value settled.
    """

    def __init__(self, sampler: BaseSampler, tried: TriedSettings, *, warn: Callable[[str], None]) -> None:
        self._sampler = sampler
        self._tried = tried
        self._warn = warn
        self._draft = Draft(lambda name, domain: None)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the other sampler does."""
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Everything that the space asks for."""
        self._draft = self._new_settings(study, trial)
        return dict(self._draft.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What was drawn for it."""
        return dict(self._draft.params)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the other sampler does: the space asks for something else than a moment ago."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: OptunaState, values: Sequence[float] | None) -> None:
        """As the other sampler does."""
        self._sampler.after_trial(study, trial, state, values)

    def _new_settings(self, study: Study, trial: FrozenTrial) -> Draft:
        known, sweep = self._tried.known(), self._tried.sweep
        grid = sweep.sampler.combinations is not None  # whose trials have each their place in it
        for _ in range(1 if grid else _ASKED):
            draft = self._drawn(self._sampler, study, trial)
            if self._number_of(draft, known) is None:
                return draft
        seed = derive_seed(sweep.seed, f"untried settings for trial {trial.number}")
        for draft in self._tried.untried(first=trial.number - 1 if grid else seed):
            return draft
        at_random = RandomSampler(seed=seed % 2**32)
        for _ in range(_DRAWN):
            draft = self._drawn(at_random, study, trial)
            if self._number_of(draft, known) is None:
                return draft
        self._warn(
            f"{trial_name(trial.number)} repeats the settings of {trial_name(self._number_of(draft, known) or 0)}: of "
            f"{_ASKED + _DRAWN} proposals none was new, so the space may have no others"
        )
        return draft

    def _number_of(self, draft: Draft, known: Mapping[AnyTrialConfig, int]) -> int | None:
        """Which trial has tried a draft's settings; none also where no config can have them, which the trial itself says."""
        try:
            return known.get(self._tried.config(draft))
        except ConfigError:
            return None

    def _drawn(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> Draft:
        """What a trial would get from a sampler, as Optuna's trials ask it."""
        settled = trial.system_attrs.get("fixed_params", {})
        jointly = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))

        def choose(name: str, domain: BaseDistribution) -> Any:
            if name in settled:
                return settled[name]
            if domain.single():
                return _only_value(domain)
            if name in jointly and contains(domain, jointly[name]):
                return jointly[name]
            return sampler.sample_independent(study, trial, name, domain)

        draft = Draft(choose)
        with suppress(ConfigError):
            self._tried.config(draft)
        return draft


def _only_value(domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[0]
    assert isinstance(domain, IntDistribution | FloatDistribution)  # there are no others
    return domain.low
