"""Gaussian process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, StartupTrials, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Gp(OptunaSampler):
    """Gaussian process: models the objective over all fields together. Its time grows with the cube of the trials."""

    warm_starts: ClassVar[bool] = True
    learns_constraints: ClassVar[bool] = True

    name: Literal["gp"] = "gp"

    startup_trials: StartupTrials = 10
    """Random trials before a model is used."""

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import GPSampler  # half a second that reading a config need not take

        return self._make(
            GPSampler,
            seed=seed_of_trial(seed, trial_number),
            n_startup_trials=self.startup_trials,
            warn_independent_sampling=False,
        )
