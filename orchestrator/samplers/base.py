"""What a sampler says of itself, and how it is built."""

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
    """How settings are proposed."""

    warm_starts: ClassVar[bool] = False
    """Whether it learns from trials of other sweeps."""

    several_objectives: ClassVar[bool] = True
    """Whether a search with it may have further objectives."""

    learns_constraints: ClassVar[bool] = False
    """Whether it looks for settings that keep the constraints. With others, trials that break them only come last."""

    @property
    def combinations(self) -> Mapping[str, Sequence[Argument]] | None:
        """All values of each searched field, of a sampler that goes through all combinations and then ends; else None."""
        return None

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """Return Optuna's sampler for one trial.

        A sampler is made anew for each trial and seeded by the trial's number, so that it proposes the same after any
        interruption; what it learns from is the study.

        Args:
            seed: The sweep's.
            trial_number: Of the trial in the study, from 0.

        Raises:
            ConfigError: its arguments are wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is built")

    def check(self, domains: Mapping[str, BaseDistribution]) -> None:
        """Try the sampler out against what a space varies, before a trial starts.

        Raises:
            ConfigError: they do not fit.
        """
        self.build(seed=0, trial_number=0)


class AbsentSampler(SamplerConfig):
    """A sampler that a stored sweep names and that is not at hand: its settings can be shown, and nothing be proposed."""

    model_config = ConfigDict(extra="allow")

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """Raises: ConfigError: always."""
        raise ConfigError(f"sampler: {self.name} is not at hand: neither a sampler of this project nor of a package")


class OptunaSampler(SamplerConfig):
    """One of Optuna's own samplers."""

    arguments: dict[str, Argument] = Field(default={})
    """Further arguments of Optuna's sampler of that name, for example ``{multivariate: true}``."""

    def _make(self, kind: Callable[..., BaseSampler], **given: Any) -> BaseSampler:
        """Optuna's sampler with what is given it here, and then with ``arguments``."""
        from optuna.exceptions import ExperimentalWarning  # half a second that reading a config need not take

        try:
            with warnings.catch_warnings():
                # Some are experimental as a class or by an argument; whoever names them has chosen so.
                warnings.simplefilter("ignore", ExperimentalWarning)
                return kind(**{**given, **self.arguments})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampler: {self.name}: {error}") from error


def seed_of_trial(seed: int, trial_number: int) -> int:
    """The seed of the sampler for one trial."""
    return derive_seed(seed, f"sampler for trial {trial_number}") % 2**32
