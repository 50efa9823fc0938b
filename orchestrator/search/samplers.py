"""From a sampler's name and arguments to Optuna's sampler for one trial.

A sampler is made anew for each trial and seeded by the trial's number, so that it proposes the same after any
interruption; what it learns from is the study. The quasi-random sequence and the grid go on by the number itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config.blocks import SamplerConfig
from orchestrator.errors import ConfigError
from trainables.config.seeds import derive_seed


def make_sampler(config: SamplerConfig, seed: int, trial_number: int) -> BaseSampler:
    """The sampler for one trial.

    Args:
        config: Name and arguments.
        seed: The sweep's.
        trial_number: Its number in the study, from 0.

    Raises:
        ConfigError: the sampler takes no such argument; the message is the sampler's.
    """
    if config.name == "grid":
        return NumberedGrid(config.grid)
    of_trial = derive_seed(seed, f"sampler for trial {trial_number}") % 2**32
    startup = {"n_startup_trials": config.startup_trials}
    quiet = {"warn_independent_sampling": False}
    kind, given = {
        "tpe": (TPESampler, {"seed": of_trial, **startup}),
        "gp": (GPSampler, {"seed": of_trial, **startup, **quiet}),
        "cmaes": (CmaEsSampler, {"seed": of_trial, **startup, **quiet}),
        "nsgaii": (NSGAIISampler, {"seed": of_trial}),
        # One sequence for the whole sweep: its place in it is kept in the study.
        "qmc": (QMCSampler, {"seed": seed % 2**32, "scramble": True, "warn_asynchronous_seeding": False, **quiet}),
        "random": (RandomSampler, {"seed": of_trial}),
    }[config.name]
    make: Callable[..., BaseSampler] = kind
    try:
        with warnings.catch_warnings():
            # Some are experimental as a class or by an argument; whoever names them has chosen so.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return make(**{**given, **config.arguments})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sampler: {config.name}: {error}") from error


def keep_search_space(sampler: BaseSampler, *, of: BaseSampler | None) -> None:
    """Let a sampler know from the last one what parameters all trials of their study share.

    Optuna's samplers find that out trial by trial and remember how far they have looked, which a sampler made anew for each
    trial would begin again each time. It is a memory only: what is proposed stays the same.
    """
    if type(sampler) is type(of):
        vars(sampler).update({name: it for name, it in vars(of).items() if isinstance(it, IntersectionSearchSpace)})


def check_sampler(config: SamplerConfig, domains: Mapping[str, BaseDistribution]) -> None:
    """Try a sampler out against what a space varies, before a trial starts.

    Raises:
        ConfigError: wrong arguments; or a grid without values for a field, for a field that does not vary, or with a value
            outside of its domain.
    """
    make_sampler(config, 0, 0)
    if config.name != "grid":
        return
    if config.grid.keys() != domains.keys():
        raise ConfigError(
            f"sampler: grid: names {', '.join(sorted(config.grid))}; it must name what the space varies: "
            f"{', '.join(sorted(domains))}"
        )
    for field, values in config.grid.items():
        for value in values:
            if not contains(domains[field], value):
                raise ConfigError(f"sampler: grid: {field}={value} lies outside of the space, {domains[field]}")


def contains(domain: BaseDistribution, value: Any) -> bool:
    """Whether a value can be suggested from a domain."""
    try:
        return domain._contains(domain.to_internal_repr(value))
    except ValueError:  # not one of a categorical domain's choices
        return False


class IndependentSampler(BaseSampler):
    """Settles each setting by itself, in ``sample_independent``."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing is drawn jointly."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is drawn jointly."""
        return {}


class NumberedGrid(IndependentSampler):
    """Trial ``n`` has the ``n``-th combination, from trial 1 on: trial 0 has the published settings.

    Optuna's own grid draws what is left at random, and ends a study in a way that only its own loop allows.
    """

    def __init__(self, grid: Mapping[str, Sequence[Any]]) -> None:
        self._combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The field's value in the trial's combination."""
        return self._combinations[max(0, trial.number - 1) % len(self._combinations)][param_name]


class InformedSampler(BaseSampler):
    """Proposes what another sampler would if trials of earlier sweeps had come before the study's own. For one trial."""

    def __init__(self, sampler: BaseSampler, past: Sequence[FrozenTrial], study: Study) -> None:
        self._sampler = sampler
        self._past = past
        self._study = study

    @cached_property
    def _informed(self) -> Study:
        study = optuna.create_study(directions=self._study.directions, sampler=self._sampler)
        study.add_trials([*self._past, *self._study.get_trials(deepcopy=False)])
        return study

    def _seen_there(self, trial: FrozenTrial) -> FrozenTrial:
        return self._informed.get_trials(deepcopy=False)[len(self._past) + trial.number]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the other sampler does."""
        return self._sampler.infer_relative_search_space(self._informed, self._seen_there(trial))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the other sampler does."""
        return self._sampler.sample_relative(self._informed, self._seen_there(trial), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the other sampler does."""
        return self._sampler.sample_independent(self._informed, self._seen_there(trial), param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the other sampler does, to the study itself."""
        self._sampler.after_trial(study, trial, state, values)
