"""Tries a search space out before a trial starts: which fields it varies, and whether a config may have what it suggests."""

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
    """Try a sweep's space out, and return it with the domains of the fields that it varies; of cases an empty one.

    Raises:
        ConfigError: the space does not fit the config, or the sampler not the space.
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
    """Try a space out before a trial starts, and return the fields that it varies, each with its domain.

    Random settings find the fields, those of a condition too; then each field is tried at the ends of its domain, or with
    each of its choices, beside settings with which it was seen.

    Raises:
        ConfigError: a suggestion is not a valid config.
        ValueError: it sets a field that all trials of a sweep share, or a name differs from the field it sets.
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
        warnings.filterwarnings("ignore", "Fixed parameter")  # of a domain that depends on the field at its end
        for field, value in ends:
            study.enqueue_trial({**seen_with[field], field: value})
            try_out(study.ask())
    return dict(sorted(domains.items()))


def _ends(domain: BaseDistribution) -> Sequence[Any]:
    if isinstance(domain, CategoricalDistribution):
        return domain.choices
    assert isinstance(domain, IntDistribution | FloatDistribution)  # there are no others
    return domain.low, domain.high


def proposed_configs(sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> list[AnyTrialConfig]:
    """The configs that a sweep is known to have before it starts: each case's, or what all trials of a search share, once
    more with each precision that it may propose."""
    configs = sweep.configs()
    searched = domains.get("precision")
    if isinstance(searched, CategoricalDistribution):
        configs += [configs[0].model_copy(update={"precision": precision}) for precision in searched.choices]
    return configs


def values_in(space: SearchSpace, fixed: Mapping[str, Any], domains: Mapping[str, BaseDistribution]) -> set[object]:
    """Return choices and texts that a search may give its fields, as far as chance finds them.

    Args:
        space: What varies.
        fixed: Fields that have one value for all trials.
        domains: Of the fields that vary.
    """
    choices = [domain.choices for domain in domains.values() if isinstance(domain, CategoricalDistribution)]
    return {*chain.from_iterable(choices), *suggested_fields(space, fixed).texts}


def published_settings(domains: Mapping[str, BaseDistribution], model: type[AnyTrialConfig]) -> dict[str, Any]:
    """The published value of each searched field, where its domain holds it.

    They are the first trial of a sweep, whatever the sampler would say: they are what others compare with.
    """
    defaults = {name: model.model_fields[name].default for name in domains}
    return {name: value for name, value in defaults.items() if contains(domains[name], value)}
