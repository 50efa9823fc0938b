"""The genetic algorithm NSGA-II (Deb et al., 2002)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.samplers.base import OptunaSampler, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class NsgaII(OptunaSampler):
    """NSGA-II: a genetic algorithm designed for several objectives."""

    learns_constraints: ClassVar[bool] = True

    name: Literal["nsgaii"] = "nsgaii"

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import NSGAIISampler  # takes half a second, so reading a config must not import it

        return self._make(NSGAIISampler, seed=seed_of_trial(seed, trial_number))
