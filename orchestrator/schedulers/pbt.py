"""Population-based training (Jaderberg et al., 2017): settings change while a student is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.samplers.base import SamplerConfig
from orchestrator.schedulers.base import SchedulerConfig
from trainables.config import AnyTrialConfig, methods_with

if TYPE_CHECKING:
    from orchestrator.schedulers.population import Population


class Pbt(SchedulerConfig):
    """Population-based training: settings change while a student is trained."""

    stops_trials: ClassVar[bool] = False
    is_population: ClassVar[bool] = True

    name: Literal["pbt"] = "pbt"

    smoothing: Annotated[int, Field(ge=1)] = 3
    """Number of last reports whose mean ranks a trial, since a single accuracy in mid-run has about two points of noise."""

    population: Annotated[int, Field(ge=2)] = 8
    """Number of students that are trained side by side."""

    generations: Annotated[int, Field(ge=2)] = 10
    """Number of equal parts of the budget. After each part the worst students take over the state of the best and explored
    variants of their settings. Each part of each student is a trial of its own: population x generations in all."""

    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Share of the population that is replaced after each generation, and share of best students that replace them."""

    @property
    def num_trials(self) -> int:
        """See ``SchedulerConfig``."""
        return self.population * self.generations

    def check(self, config: AnyTrialConfig, *, equal_budget: bool, sampler: SamplerConfig) -> None:
        """See ``SchedulerConfig``."""
        if not config.divisible:
            able = methods_with(lambda method: method.divisible)
            raise ValueError(f"scheduler={self.name} is for {able} trials, and these are {config.method} trials")
        if equal_budget:
            raise ValueError(
                f"scheduler={self.name}: settings change in mid-training, so budget: {{unit: ...}} does not fit; use "
                f"trial: {{{config.budget_field}: ...}}"
            )
        if sampler.combinations is not None:
            raise ValueError(
                f"scheduler={self.name} explores on its own after the first generation; sampler={sampler.name} does not fit"
            )
        if self.generations > config.budget:
            raise ValueError(
                f"scheduler.generations={self.generations} is more than the {config.budget} "
                f"{config.unit.replace('_', ' ')} of a trial"
            )

    def trial_of(self, config: AnyTrialConfig) -> AnyTrialConfig:
        """See ``SchedulerConfig``: each generation's part of a student's training is a trial of its own."""
        return config.part(max(1, round(config.budget / self.generations)))

    def build_population(self, *, seed: int, mode: str, trial_name: Callable[[int], str]) -> Population:
        """See ``SchedulerConfig``."""
        from orchestrator.schedulers.population import Population  # imports Optuna (0.5 s)

        return Population(
            size=self.population,
            generations=self.generations,
            quantile=self.quantile,
            smoothing=self.smoothing,
            seed=seed,
            mode=mode,
            trial_name=trial_name,
        )
