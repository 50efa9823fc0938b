"""Optuna samplers of this project that settle each setting by itself, and what a domain holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial


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


def contains(domain: BaseDistribution, value: Any) -> bool:
    """Whether a value can be suggested from a domain."""
    try:
        internal = domain.to_internal_repr(value)
    except ValueError:  # not one of a categorical domain's choices, or no number
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
