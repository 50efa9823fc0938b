"""Grid search: all combinations of given values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from orchestrator.errors import ConfigError
from orchestrator.samplers.base import Argument, SamplerConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class Grid(SamplerConfig):
    """Grid search: one trial for each combination of the values in ``grid``."""

    name: Literal["grid"] = "grid"

    grid: Annotated[dict[str, Annotated[list[Argument], Field(min_length=1)]], Field(validate_default=True)] = Field(
        default={}
    )
    """Values to try, by searched field."""

    @field_validator("grid")
    @classmethod
    def _check_grid(cls, grid: dict[str, list[Argument]]) -> dict[str, list[Argument]]:
        if not grid:
            raise ValueError("the sampler grid needs grid: {field: [value, ...]}")
        return grid

    @property
    def combinations(self) -> Mapping[str, Sequence[Argument]] | None:
        """See ``SamplerConfig``."""
        return self.grid

    def build(self, *, seed: int, trial_number: int) -> BaseSampler:
        """See ``SamplerConfig``. Neither argument is used: the sampler chooses the combination by the trial's number."""
        from orchestrator.samplers.independent import NumberedGrid  # imports Optuna (0.5 s)

        return NumberedGrid(self.grid)

    def check(self, domains: Mapping[str, BaseDistribution]) -> None:
        """See ``SamplerConfig``.

        Raises:
            ConfigError: the grid lacks a searched field, has a field that is not searched, or has a value outside of its
                field's domain.
        """
        from orchestrator.samplers.independent import contains  # imports Optuna (0.5 s)

        if self.grid.keys() != domains.keys():
            raise ConfigError(
                f"sampler: grid: names {', '.join(sorted(self.grid))}; it must name what the space varies: "
                f"{', '.join(sorted(domains))}"
            )
        for field, values in self.grid.items():
            for value in values:
                if not contains(domains[field], value):
                    raise ConfigError(f"sampler: grid: {field}={value} lies outside of the space, {domains[field]}")
