"""Keeps a search from training the same settings twice: equal settings with one seed are the same trial, bit for bit.

A sampler may propose settings that it has proposed before. The sampler is then asked again a few times; after that the
search takes the first untried combination from a place in the space that follows from the seed. Settings whose trial failed
with an error are tried once more when nothing else is left. All of this happens before the trial gets its parameters, so a
rejected proposal leaves none in the trial. State that samplers store themselves remains: QMC uses up one position of its
sequence, counted in the study, for each proposal; CMA-ES stores its state and generation with the trial; GP and TPE (with
several variables and ``constant_liar``) store the last values that they proposed jointly, but the trial's own parameters
take precedence over these.

A space is known to be finite only if it is a grid, or is written in the sweep's file and has finitely many values. A
function may suggest anything, so settings that have been tried may then run again.
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
"""Number of times that a sampler is asked for new settings. A sampler with a model may take a second each time."""

_DRAWN = 100
"""Number of random draws if neither the sampler nor a finite space yields new settings."""


class Draft:
    """A trial in memory only, with the part of Optuna's interface that search spaces use."""

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
    """The tried and the untried settings of a search. Follows the study as trials are added."""

    sweep: SweepConfig
    space: SearchSpace
    study: Study | None
    """The study. If None, only trials given to ``remember`` count as tried."""

    _ended: dict[AnyTrialConfig, int] = field(default_factory=dict)
    """Settings of the ended trials seen so far, each with a trial's number. Cached, since there may be thousands."""

    _failed_once: set[AnyTrialConfig] = field(default_factory=set)
    """Settings whose only ended trial failed with an error, which the machine may have caused."""

    _looked_at: set[int] = field(default_factory=set)
    """Numbers of the ended trials that have been read from the study."""

    _combinations: dict[int, tuple[Draft, AnyTrialConfig] | None] = field(default_factory=dict)
    """Cached combinations of a finite space, by place in the space; None for a combination that is not a valid config."""

    @property
    def applies(self) -> bool:
        """Whether the sweep avoids repeated settings. Cases and members of a population may repeat settings."""
        return not self.sweep.cases and not self.sweep.scheduler.is_population

    def config(self, draft: Draft) -> AnyTrialConfig:
        """Return the config that follows from a draft of a trial, without its permissions.

        Raises:
            ConfigError: the draft's settings are not a valid config.
        """
        return _told_apart(self.sweep.trial_config(self.space(PinnedTrial(draft, self.sweep.trial))))

    def remember(self, config: AnyTrialConfig, number: int, *, failed: bool) -> None:
        """Record the settings of a trial that has ended.

        Args:
            config: Config of the trial.
            number: Number of the trial.
            failed: Whether the trial failed with an error. False for a diverged trial, which would diverge again.
        """
        settings = _told_apart(config)
        if failed and settings not in self._ended:
            self._failed_once.add(settings)
        else:
            self._failed_once.discard(settings)
        self._ended.setdefault(settings, number)

    def known(self) -> dict[AnyTrialConfig, int]:
        """Return the settings that have been tried, each with the number of a running or ended trial."""
        return self._ended | self._running()

    def untried(self, *, first: int = 0) -> Iterator[Draft]:
        """Generate each untried combination of a finite space once; nothing if the space is not known to be finite.

        New combinations come first, then combinations whose only trial failed with an error.

        Args:
            first: Place in the space to start from, taken modulo the size of the space.
        """
        known = set(self.known())
        yield from (draft for draft, config in self._combinations_from(first) if config not in known)
        again = self._failed_once - self._running().keys()
        if again:
            yield from (draft for draft, config in self._combinations_from(first) if config in again)

    def left(self, *, at_most: int) -> int:
        """Return how many untried combinations are left, at most ``at_most``; just that if the space may be infinite."""
        return at_most if self._values is None else sum(1 for _ in islice(self.untried(), at_most))

    def in_all(self, asked_for: int) -> int:
        """Return the number of trials that the sweep will have, limited by its space if the space is finite.

        Args:
            asked_for: Number of trials started so far.
        """
        more = self.sweep.num_trials - asked_for
        return asked_for + self.left(at_most=more) if self.applies and more > 0 else self.sweep.num_trials

    def settings(self) -> int:
        """Return how many different settings have been tried or are in a finite space."""
        return len(self.known().keys() | {config for _, config in self._combinations_from(0)})

    def _running(self) -> dict[AnyTrialConfig, int]:
        """Return the settings of running trials, and remember the trials that have ended since the last call."""
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
        """Generate each valid combination of a finite space once; nothing if the space is not known to be finite."""
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
        """All values of each searched field of a finite space; None if the space is not known to be finite."""
        if self.sweep.sampler.combinations is not None:
            return self.sweep.sampler.combinations
        values = self.space.values if isinstance(self.space, InlineSpace) else None
        return values and {name: found for name, found in values.items() if name not in self.sweep.trial}

    def _combination(self, values: Mapping[str, Sequence[Any]], place: int) -> tuple[Draft, AnyTrialConfig] | None:
        """Return the combination at a place in the space, where the last field varies fastest; None if it is not valid."""
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
    """Return a config with all permissions off, since trials that differ in their permissions alone are the same."""
    return config.model_copy(update=dict.fromkeys(permission_fields(type(config)), False))


def trials_in_all(board: Leaderboard) -> int:
    """Count the trials that a sweep will have, as the sweep itself does; for a finished sweep, the trials that it had."""
    if board.finished:
        return len(board.rows)
    in_all = board.sweep.num_trials
    space = board.sweep.space
    if (
        isinstance(space, Mapping) or space in space_names()
    ):  # a user's space function may be infinite or not available here
        tried = TriedSettings(sweep=board.sweep, space=find_space(space, board.sweep.search), study=None)
        for row in board.rows:
            tried.remember(row.config, row.trial_number, failed=row.state is TrialState.FAILED)
        in_all = tried.in_all(len(board.rows))  # running trials count as untried here
    return max(in_all, len(board.rows))


def ended_of_all(board: Leaderboard) -> str:
    """Return the number of ended trials and of trials in all as text: ``17 of 18``.

    A failed trial and the trial that repeats its settings count as two.
    """
    return f"{len(board.rows)} of {trials_in_all(board)}"


class DistinctSampler(BaseSampler):
    """Proposes settings for one trial by another sampler, but none that have been tried.

    All values are drawn when the trial starts, as if jointly, and then handed to the trial one by one.
    """

    def __init__(self, sampler: BaseSampler, tried: TriedSettings, *, warn: Callable[[str], None]) -> None:
        self._sampler = sampler
        self._tried = tried
        self._warn = warn
        self._draft = Draft(lambda name, domain: None)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Call the wrapped sampler's method."""
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draw the trial's settings, and return the domains of all drawn fields."""
        self._draft = self._new_settings(study, trial)
        return dict(self._draft.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values drawn by ``infer_relative_search_space``."""
        return dict(self._draft.params)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Call the wrapped sampler's method, if the space asks for a field that was not drawn."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: OptunaState, values: Sequence[float] | None) -> None:
        """Call the wrapped sampler's method."""
        self._sampler.after_trial(study, trial, state, values)

    def _new_settings(self, study: Study, trial: FrozenTrial) -> Draft:
        known, sweep = self._tried.known(), self._tried.sweep
        grid = sweep.sampler.combinations is not None  # each trial of a grid has its own place
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
        """Return the number of a trial with a draft's settings; None if they are new or not a valid config.

        Settings that are not valid are reported by the trial itself.
        """
        try:
            return known.get(self._tried.config(draft))
        except ConfigError:
            return None

    def _drawn(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> Draft:
        """Return the draft of a trial whose values a sampler proposes, as Optuna's own trials would get them."""
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
    assert isinstance(domain, IntDistribution | FloatDistribution)  # Optuna has no other domains
    return domain.low
