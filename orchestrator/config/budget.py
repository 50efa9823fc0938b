"""What a sweep may use: in all, and each of its trials, whose settings make a pseudo batch cost differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from trainables.config import Config, TrialConfig

_FEWEST = 0.67
"""Of one unit, that a budget is worth: with less a trial would have more than half as much again."""

Unit = Literal["pseudo_batches", "student_updates", "flops", "seconds"]


class BudgetConfig(Config):
    """What a sweep may spend in all (``usd``, ``gpu_hours``), and what each of its trials may use (``unit`` and ``amount``):
    then pseudo batches, and with them the cosines, follow."""

    unit: Unit | None = None
    """``pseudo_batches``: as in the paper, whatever a pseudo batch costs; ``student_updates``: optimizer updates of the
    student; ``flops``: floating-point operations of the networks, counted without redundant work; ``seconds``: of training
    on the machines of the sweep's first session, from their ``flops_per_second``. None: trials have their
    ``total_pseudo_batches``."""

    amount: Annotated[int, Field(ge=1)] | None = None
    """How many of them; a trial gets as many whole pseudo batches as come closest, at least one."""

    flops_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """For ``seconds``: how fast these machines train. None: measured once, in a short probe of the published settings, and
    kept, so that all trials of a sweep have horizons of one measure."""

    reports: Annotated[int, Field(ge=1)] = 20
    """How often a trial reports, at equal distances, unless ``evaluation_interval`` is given. With ``unit`` only."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What all trials may cost together, earlier sessions counted in, by the prices of their machines. No trial starts that
    would exceed it; those that run come to their end."""

    gpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Hours of a GPU that all trials may take together, likewise; half of a GPU for an hour is half of one."""

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if (self.unit is None) != (self.amount is None):
            given, missing = ("unit", "amount") if self.amount is None else ("amount", "unit")
            raise ValueError(f"{given} without {missing}: what each trial may use needs both")
        if self.unit is None and self.usd is None and self.gpu_hours is None:
            raise ValueError("expected unit and amount for each trial, or usd or gpu_hours for all, or both")
        if self.unit is None and self.reports != type(self).model_fields["reports"].default:
            raise ValueError("reports is for trials with unit and amount; without them it has no effect")
        if self.flops_per_second is not None and self.unit != "seconds":
            raise ValueError(f"flops_per_second is for unit: seconds; with {self.unit} it has no effect")
        return self

    @property
    def without_limits(self) -> Self | None:
        """The same for each trial, without what all may spend; none if that is all it says."""
        return None if self.unit is None else self.model_copy(update={"usd": None, "gpu_hours": None})

    @property
    def of_trial(self) -> TrialBudget | None:
        """What each trial may use; none where that is not limited."""
        if self.unit is None or self.amount is None:
            return None
        return TrialBudget(
            unit=self.unit, amount=self.amount, flops_per_second=self.flops_per_second, reports=self.reports
        )


@dataclass(frozen=True, kw_only=True)
class TrialBudget:
    """What is held equal between the trials of a sweep; fields as in ``BudgetConfig``."""

    unit: Unit
    amount: int
    flops_per_second: float | None
    reports: int

    def applied_to(self, config: TrialConfig) -> TrialConfig:
        """The config with this budget, where it does not name one of its own; its method has a ``budget_field``."""
        field = str(config.budget_field)
        total = config.budget
        if field not in config.model_fields_set and self.is_known:
            units = self.amount / self._cost_of_a_unit(config)
            if units < _FEWEST and self.unit != "seconds":  # which are a guess at the machine's speed anyway
                raise ConfigError(
                    f"budget: {self.amount:,} {self.unit.replace('_', ' ')} are {units:.2g} of what one of the "
                    f"{config.unit.replace('_', ' ')} of method={config.method} takes: raise the amount, or make one "
                    "cheaper, as with fewer student_steps or generator_steps"
                )
            total = max(1, round(units))
        interval = config.evaluation_interval or max(1, round(total / self.reports))
        return config.model_copy(update={field: total, "evaluation_interval": interval})

    @property
    def is_known(self) -> bool:
        """Whether horizons can be told yet: of seconds only once the speed has been measured."""
        return self.unit != "seconds" or self.flops_per_second is not None

    def used(self, config: TrialConfig, done: int) -> int:
        """How much of the amount a trial has used; all of it at its end, whatever rounding has done."""
        return round(self.amount * done / config.budget)

    def _cost_of_a_unit(self, config: TrialConfig) -> float:
        match self.unit:
            case "pseudo_batches":
                return 1
            case "student_updates":
                return config.student_updates_per_unit
            case "flops" | "seconds":
                from trainables.compute.flops import unit_work  # brings torch, which other sweeps can do without here

                return unit_work(config).flops / (self.flops_per_second or 1.0)
