"""Covariance matrix adaptation (Hansen & Ostermeier, 2001)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, StartupTrials, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class CmaEs(OptunaSampler):
    """Covariance matrix adaptation: an evolution strategy for numeric fields and a single objective."""

    several_objectives: ClassVar[bool] = False

    name: Literal["cmaes"] = "cmaes"

    startup_trials: StartupTrials = 10
    """Number of random trials before the sampler uses its model."""

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import CmaEsSampler  # takes half a second, so reading a config must not import it

        return self._make(
            CmaEsSampler,
            seed=seed_of_trial(seed, trial_number),
            n_startup_trials=self.startup_trials,
            warn_independent_sampling=False,
        )
