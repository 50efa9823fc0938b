"""Additions to a sweep's sampler: a cached search space, and trials of earlier sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState


def keep_search_space(sampler: BaseSampler, *, of: BaseSampler | None) -> None:
    """Copy to a sampler the cached intersection search space of another sampler of the same class.

    Optuna's samplers compute the parameters that all trials share trial by trial, and cache the result. A sampler that is
    built anew for each trial would start from the first trial each time. The cache does not change the proposals.

    Args:
        sampler: The new sampler.
        of: The sampler of the trial before. None for the first trial.
    """
    if type(sampler) is type(of):
        vars(sampler).update({name: it for name, it in vars(of).items() if isinstance(it, IntersectionSearchSpace)})


class InformedSampler(BaseSampler):
    """Proposes settings by another sampler as if trials of earlier sweeps preceded the study's own. For one trial."""

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
        """Call the wrapped sampler's method with the study that includes the earlier trials."""
        return self._sampler.infer_relative_search_space(self._informed, self._seen_there(trial))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Call the wrapped sampler's method with the study that includes the earlier trials."""
        return self._sampler.sample_relative(self._informed, self._seen_there(trial), search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Call the wrapped sampler's method with the study that includes the earlier trials."""
        return self._sampler.sample_independent(self._informed, self._seen_there(trial), param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Call the wrapped sampler's method with the study itself."""
        self._sampler.after_trial(study, trial, state, values)
