"""Quasi-Monte Carlo sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from orchestrator.samplers.base import OptunaSampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Qmc(OptunaSampler):
    """Quasi-random sequence: covers the space more evenly than independent random draws."""

    name: Literal["qmc"] = "qmc"

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import QMCSampler  # takes half a second, so reading a config must not import it

        # One seed, and so one sequence, for the whole sweep: the study stores the position in the sequence.
        return self._make(
            QMCSampler,
            seed=seed % 2**32,
            scramble=True,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
