"""Tree-structured Parzen estimator (Bergstra et al., 2011)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, StartupTrials, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Tpe(OptunaSampler):
    """Tree-structured Parzen estimator: models the settings of good trials and of all others, field by field."""

    warm_starts: ClassVar[bool] = True
    learns_constraints: ClassVar[bool] = True

    name: Literal["tpe"] = "tpe"

    startup_trials: StartupTrials = 10
    """Number of random trials before the sampler uses its model."""

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import TPESampler  # takes half a second, so reading a config must not import it

        return self._make(TPESampler, seed=seed_of_trial(seed, trial_number), n_startup_trials=self.startup_trials)
