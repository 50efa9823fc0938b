"""Base of this project's Optuna samplers, which draw each field on its own; the grid sampler; a membership test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial


class IndependentSampler(BaseSampler):
    """Base of samplers that draw each field on its own, in ``sample_independent``."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return no domains, since no fields are drawn jointly."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return no values, since no fields are drawn jointly."""
        return {}


class NumberedGrid(IndependentSampler):
    """Gives trial ``n`` the ``n``-th combination, counted from 1, since trial 0 has the published settings.

    Optuna's own grid sampler is not used: it draws the remaining combinations in random order, and stops the study by a call
    that only Optuna's own loop allows.
    """

    def __init__(self, grid: Mapping[str, Sequence[Any]]) -> None:
        self._combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the field's value in the trial's combination."""
        return self._combinations[max(0, trial.number - 1) % len(self._combinations)][param_name]


def contains(domain: BaseDistribution, value: Any) -> bool:
    """Return whether a domain contains a value.

    Raises:
        TypeError: the domain is of an unknown kind.
    """
    try:
        internal = domain.to_internal_repr(value)
    except ValueError:  # not among the choices of a categorical domain, or not a number
        return False
    match domain:
        case CategoricalDistribution():
            return True
        case IntDistribution():
            return domain.low <= internal <= domain.high and (internal - domain.low) % domain.step == 0
        case FloatDistribution():
            steps = 0.0 if domain.step is None else (internal - domain.low) / domain.step
            return domain.low <= internal <= domain.high and abs(steps - round(steps)) < 1e-8
    raise TypeError(f"{domain} is no domain of a search space")
