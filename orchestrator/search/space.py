"""Tests a search space before any trial starts: finds the fields that it varies, and checks that its values are valid."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from orchestrator.config import SweepConfig
from orchestrator.config.spaces import find_space
from orchestrator.errors import ConfigError, naming
from orchestrator.samplers.independent import contains
from search_spaces import SearchSpace, resolve_space
from search_spaces.fields import PinnedTrial, suggested_fields
from trainables.config import AnyTrialConfig
from trainables.config.roles import roles_of


def resolve_domains(sweep: SweepConfig) -> tuple[SearchSpace, dict[str, BaseDistribution]]:
    """Test a sweep's space, and return the space and the domains of the fields that it varies.

    A sweep of cases has an empty space.

    Raises:
        ConfigError: the space does not fit the config, or the sampler does not fit the space.
    """
    if sweep.cases:
        return resolve_space({}), {}
    try:
        space = find_space(sweep.space, sweep.search)
        roles, explored = roles_of(type(sweep.configs()[0])), sweep.scheduler.is_population
        fixed = tuple(field for field, role in roles.items() if role.shared or (explored and role.inherited))
        domains = infer_domains(space, sweep, forbidden=fixed)
        with naming(f"sampler {sweep.sampler.name}"):
            sweep.sampler.check(domains)
        return space, domains
    except ValueError as error:
        raise ConfigError(str(error)) from error


def infer_domains(
    space: SearchSpace, sweep: SweepConfig, *, forbidden: tuple[str, ...], samples: int = 50
) -> dict[str, BaseDistribution]:
    """Test a space before any trial starts, and return the domains of the fields that it varies.

    Random suggestions find the fields, including conditional ones. Then each field is tested at both ends of its domain, or
    with each of its choices, together with other settings with which the field occurred.

    Args:
        space: The search space.
        sweep: Config of the sweep.
        forbidden: Fields that the space must not set.
        samples: Number of random suggestions.

    Raises:
        ConfigError: a suggestion is not a valid config.
        ValueError: the space sets a forbidden field, or a parameter is not named after the field that it sets.
    """
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    domains: dict[str, BaseDistribution] = {}
    seen_with: dict[str, dict[str, Any]] = {}

    def try_out(trial: optuna.Trial) -> None:
        suggestion = space(PinnedTrial(trial, sweep.trial))
        sweep.trial_config(suggestion)
        shared = suggestion.keys() & set(forbidden)
        if shared:
            raise ValueError(f"space: {', '.join(sorted(shared))} cannot vary within a sweep; fix it under trial:")
        misnamed = trial.params.keys() - suggestion.keys()
        if misnamed:
            raise ValueError(f"space: parameter {', '.join(sorted(misnamed))} sets no field of that name")
        domains.update(trial.distributions)
        seen_with.update(dict.fromkeys(trial.distributions, trial.params))

    for _ in range(samples):
        try_out(study.ask())
    ends = [(field, value) for field, domain in sorted(domains.items()) for value in _ends(domain)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Fixed parameter")  # if another field's domain depends on this field
        for field, value in ends:
            study.enqueue_trial({**seen_with[field], field: value})
            try_out(study.ask())
    return dict(sorted(domains.items()))


def _ends(domain: BaseDistribution) -> Sequence[Any]:
    if isinstance(domain, CategoricalDistribution):
        return domain.choices
    assert isinstance(domain, IntDistribution | FloatDistribution)  # Optuna has no other domains
    return domain.low, domain.high


def proposed_configs(sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> list[AnyTrialConfig]:
    """Return the configs that are known before a sweep starts.

    These are the cases' configs or, for a search, the config that all trials share, followed by a copy for each precision
    that the search may propose.
    """
    configs = sweep.configs()
    searched = domains.get("precision")
    if isinstance(searched, CategoricalDistribution):
        configs += [configs[0].model_copy(update={"precision": precision}) for precision in searched.choices]
    return configs


def values_in(space: SearchSpace, fixed: Mapping[str, Any], domains: Mapping[str, BaseDistribution]) -> set[object]:
    """Return choices and texts that a search may give to its fields, as far as random suggestions find them.

    Args:
        space: The search space.
        fixed: Values of the fields that are equal in all trials.
        domains: Domains of the fields that vary.
    """
    choices = [domain.choices for domain in domains.values() if isinstance(domain, CategoricalDistribution)]
    return {*chain.from_iterable(choices), *suggested_fields(space, fixed).texts}


def published_settings(domains: Mapping[str, BaseDistribution], model: type[AnyTrialConfig]) -> dict[str, Any]:
    """Return the published value of each searched field whose domain contains that value.

    The first trial of a search has these settings, whatever the sampler, since others compare their results with them.
    """
    defaults = {name: model.model_fields[name].default for name in domains}
    return {name: value for name, value in defaults.items() if contains(domains[name], value)}
