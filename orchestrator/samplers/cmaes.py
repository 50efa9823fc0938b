"""Covariance matrix adaptation (Hansen & Ostermeier, 2001)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, StartupTrials, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class CmaEs(OptunaSampler):
    """Covariance matrix adaptation: an evolution strategy for numbers, for one objective."""

    several_objectives: ClassVar[bool] = False

    name: Literal["cmaes"] = "cmaes"

    startup_trials: StartupTrials = 10
    """Random trials before a model is used."""

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import CmaEsSampler  # half a second that reading a config need not take

        return self._make(
            CmaEsSampler,
            seed=seed_of_trial(seed, trial_number),
            n_startup_trials=self.startup_trials,
            warn_independent_sampling=False,
        )
