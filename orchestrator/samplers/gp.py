"""Gaussian-process sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, StartupTrials, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Gp(OptunaSampler):
    """Gaussian process: models the objective over all fields together. Run time grows with the cube of the trial count."""

    warm_starts: ClassVar[bool] = True
    learns_constraints: ClassVar[bool] = True

    name: Literal["gp"] = "gp"

    startup_trials: StartupTrials = 10
    """Number of random trials before the sampler uses its model."""

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import GPSampler  # takes half a second, so reading a config must not import it

        return self._make(
            GPSampler,
            seed=seed_of_trial(seed, trial_number),
            n_startup_trials=self.startup_trials,
            warn_independent_sampling=False,
        )
