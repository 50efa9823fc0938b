"""Random search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from orchestrator.samplers.base import OptunaSampler, seed_of_trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Random(OptunaSampler):
    """Random search: independent draws from the space."""

    name: Literal["random"] = "random"

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import RandomSampler  # takes half a second, so reading a config must not import it

        return self._make(RandomSampler, seed=seed_of_trial(seed, trial_number))
