"""Budgets: what a sweep may spend in total, and what each of its trials may use, since a pseudo batch's cost varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.errors import ConfigError
from trainables.config import Config, TrialConfig

_FEWEST = 0.67
"""Smallest budget accepted, in pseudo batches or updates. A trial has at least one of these, so that a trial with a smaller
budget would exceed it by more than half."""

Unit = Literal["pseudo_batches", "student_updates", "flops", "seconds"]


class BudgetConfig(Config):
    """Limits on what a sweep may spend (``usd``, ``gpu_hours``), and the budget of each trial (``unit``, ``amount``).

    A trial's pseudo batches, and with them its learning-rate horizon, follow from its budget.
    """

    unit: Unit | None = None
    """Unit of a trial's budget. ``pseudo_batches``: as in the paper, whatever a pseudo batch costs. ``student_updates``:
    optimizer updates of the student. ``flops``: floating-point operations of the networks, without redundant work.
    ``seconds``: training time on the machines of the sweep's first session, by their ``flops_per_second``. None means that
    trials have their ``total_pseudo_batches``."""

    amount: Annotated[int, Field(ge=1)] | None = None
    """Budget of each trial, in ``unit``. A trial gets the nearest number of whole pseudo batches, at least one."""

    flops_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Training speed of the machines, for ``unit: seconds``. None means that a short probe of the published settings
    measures it once; the measured speed is kept, so that it converts the budgets of all trials of the sweep."""

    reports: Annotated[int, Field(ge=1)] = 20
    """Number of equally spaced reports of a trial, unless ``evaluation_interval`` is given. Only with ``unit``."""

    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Most that all trials together may cost in USD, including earlier sessions, by the prices of their machines. No trial
    starts that would exceed the limit; running trials finish."""

    gpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Most GPU hours that all trials together may use, including earlier sessions; half a GPU for an hour counts half an
    hour. No trial starts that would exceed the limit; running trials finish."""

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if (self.unit is None) != (self.amount is None):
            given, missing = ("unit", "amount") if self.amount is None else ("amount", "unit")
            raise ValueError(f"{given} without {missing}: the budget of a trial needs both")
        if self.unit is None and self.usd is None and self.gpu_hours is None:
            raise ValueError("expected unit and amount for each trial, or usd or gpu_hours for all, or both")
        if self.unit is None and self.reports != type(self).model_fields["reports"].default:
            raise ValueError("reports is for trials with unit and amount; without them it has no effect")
        if self.flops_per_second is not None and self.unit != "seconds":
            raise ValueError(f"flops_per_second is for unit: seconds; with {self.unit} it has no effect")
        return self

    @property
    def without_limits(self) -> Self | None:
        """The budget of each trial without the limits on the whole sweep; None if there are only such limits."""
        return None if self.unit is None else self.model_copy(update={"usd": None, "gpu_hours": None})

    @property
    def of_trial(self) -> TrialBudget | None:
        """The budget of each trial; None if ``unit`` and ``amount`` are not given."""
        if self.unit is None or self.amount is None:
            return None
        return TrialBudget(
            unit=self.unit, amount=self.amount, flops_per_second=self.flops_per_second, reports=self.reports
        )


@dataclass(frozen=True, kw_only=True)
class TrialBudget:
    """The budget that is equal for all trials of a sweep; its fields are those of ``BudgetConfig``."""

    unit: Unit
    amount: int
    flops_per_second: float | None
    reports: int

    def applied_to(self, config: TrialConfig) -> TrialConfig:
        """Return a trial's config with this budget, unless the config sets its own.

        Args:
            config: Config of a method that has a ``budget_field``.

        Raises:
            ConfigError: the budget is too small for one pseudo batch or update.
        """
        field = str(config.budget_field)
        total = config.budget
        if field not in config.model_fields_set and self.is_known:
            units = self.amount / self._cost_of_a_unit(config)
            if units < _FEWEST and self.unit != "seconds":  # seconds depend on an estimate of the machine's speed
                raise ConfigError(
                    f"budget: {self.amount:,} {self.unit.replace('_', ' ')} are {units:.2g} of what one of the "
                    f"{config.unit.replace('_', ' ')} of method={config.method} takes: raise the amount, or make one "
                    "cheaper, for example by fewer student_steps or generator_steps"
                )
            total = max(1, round(units))
        interval = config.evaluation_interval or max(1, round(total / self.reports))
        return config.model_copy(update={field: total, "evaluation_interval": interval})

    @property
    def is_known(self) -> bool:
        """Whether the trials' budgets are known: a budget in seconds is known once the machines' speed is."""
        return self.unit != "seconds" or self.flops_per_second is not None

    def used(self, config: TrialConfig, done: int) -> int:
        """Return how much of ``amount`` a trial has used: at its end exactly ``amount``, whatever was rounded before."""
        return round(self.amount * done / config.budget)

    def _cost_of_a_unit(self, config: TrialConfig) -> float:
        match self.unit:
            case "pseudo_batches":
                return 1
            case "student_updates":
                return config.student_updates_per_unit
            case "flops" | "seconds":
                from trainables.compute.flops import unit_work  # imports torch, which sweeps in other units do not need

                return unit_work(config).flops / (self.flops_per_second or 1.0)
