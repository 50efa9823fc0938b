"""What a search adds to the sampler that its sweep names: a memory, and trials of earlier sweeps."""

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
    """Let a sampler know from the last one what parameters all trials of their study share.

    Optuna's samplers find that out trial by trial and remember how far they have looked, which a sampler made anew for each
    trial would begin again each time. It is a memory only: what is proposed stays the same.
    """
    if type(sampler) is type(of):
        vars(sampler).update({name: it for name, it in vars(of).items() if isinstance(it, IntersectionSearchSpace)})


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
