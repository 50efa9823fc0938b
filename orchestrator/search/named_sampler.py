"""Samplers whose errors name them: a sampler may be the user's own, or fail because of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import naming
from orchestrator.samplers.base import SamplerConfig


class NamedSampler(BaseSampler):
    """Calls another sampler, and adds that sampler's name to its errors."""

    def __init__(self, sampler: BaseSampler, name: str) -> None:
        self._sampler = sampler
        self._part = f"sampler {name}"

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Call the wrapped sampler's method."""
        with naming(self._part):
            self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Call the wrapped sampler's method."""
        with naming(self._part):
            return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Call the wrapped sampler's method."""
        with naming(self._part):
            return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Call the wrapped sampler's method."""
        with naming(self._part):
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Call the wrapped sampler's method."""
        with naming(self._part):
            self._sampler.after_trial(study, trial, state, values)


def build_sampler(config: SamplerConfig, *, seed: int, trial_number: int) -> BaseSampler:
    """Return Optuna's sampler for one trial, as ``SamplerConfig.build`` does.

    Raises:
        ConfigError: the sampler's arguments are wrong.
        PartError: building the sampler failed for another reason, or its ``build`` returned no sampler.
    """
    with naming(f"sampler {config.name}"):
        built = config.build(seed=seed, trial_number=trial_number)
        if not isinstance(built, BaseSampler):
            raise TypeError(f"build returned {built!r}, expected an Optuna sampler")
        return built
