"""A quasi-random sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from orchestrator.samplers.base import OptunaSampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class Qmc(OptunaSampler):
    """A quasi-random sequence: covers the space more evenly than independent draws do."""

    name: Literal["qmc"] = "qmc"

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``."""
        from optuna.samplers import QMCSampler  # half a second that reading a config need not take

        # One sequence for the whole sweep: its place in it is kept in the study.
        return self._make(
            QMCSampler,
            seed=seed % 2**32,
            scramble=True,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
