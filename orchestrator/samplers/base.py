"""Base classes of the sampler configs, which state what a sampler supports and build it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.errors import ConfigError
from orchestrator.kinds import Kind
from trainables.config.base import derive_seed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

Argument = str | int | float | bool | None
StartupTrials = Annotated[int, Field(ge=1)]


class SamplerConfig(Kind):
    """Config of the sampler that proposes the trials' settings."""

    warm_starts: ClassVar[bool] = False
    """Whether the sampler can learn from trials of other sweeps."""

    several_objectives: ClassVar[bool] = True
    """Whether a search with this sampler may have further objectives."""

    learns_constraints: ClassVar[bool] = False
    """Whether the sampler prefers settings that satisfy the constraints. Otherwise constraints only affect the ranking,
    where trials that violate them come last."""

    @property
    def combinations(self) -> Mapping[str, Sequence[Argument]] | None:
        """The values of each searched field if the sampler tries all combinations and then ends; else None."""
        return None

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """Return Optuna's sampler for one trial.

        A new sampler is built for each trial and seeded by the trial's number, so that it proposes the same settings after
        any interruption. The sampler learns from the study only.

        Args:
            seed: Seed of the sweep.
            trial_number: Number of the trial in the study, from 0.

        Raises:
            ConfigError: the sampler's arguments are wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define build()")

    def check(self, domains: Mapping[str, BaseDistribution]) -> None:
        """Check that the sampler fits the domains of a search space, before any trial starts.

        Raises:
            ConfigError: the sampler does not fit the domains, or its arguments are wrong.
        """
        self.build(seed=0, trial_number=0)


class AbsentSampler(SamplerConfig):
    """Stands for a stored sweep's sampler that is not installed: its settings can be shown, but it proposes nothing."""

    model_config = ConfigDict(extra="allow")

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """Raise ConfigError, since the sampler is not available."""
        raise ConfigError(
            f"sampler: {self.name} is not available: neither this project nor an installed package has it"
        )


class OptunaSampler(SamplerConfig):
    """Config of one of Optuna's own samplers."""

    arguments: dict[str, Argument] = Field(default={})
    """Further arguments of Optuna's sampler class, for example ``{multivariate: true}``."""

    def _make(self, kind: Callable[..., BaseSampler], **given: Any) -> BaseSampler:
        """Return Optuna's sampler with the arguments given here, overridden by the field ``arguments``.

        Raises:
            ConfigError: Optuna rejects the arguments.
        """
        from optuna.exceptions import ExperimentalWarning  # takes half a second, so reading a config must not import it

        try:
            with warnings.catch_warnings():
                # Some samplers or arguments are experimental; the user who named them needs no warning.
                warnings.simplefilter("ignore", ExperimentalWarning)
                return kind(**{**given, **self.arguments})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampler: {self.name}: {error}") from error


def seed_of_trial(seed: int, trial_number: int) -> int:
    """Return the sampler's seed for one trial, in [0, 2^32)."""
    return derive_seed(seed, f"sampler for trial {trial_number}") % 2**32
