"""Search spaces written in YAML: ``{field: domain}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, RootModel, model_validator

from search_spaces.spaces import Suggest
from trainables.config import Config


def _check_range(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low={low} is above high={high}")
    if log and low <= 0:
        raise ValueError(f"log: true needs low > 0, not {low}")


class IntDomain(Config):
    """Whole numbers from ``low`` to ``high``, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class FloatDomain(Config):
    """Numbers from ``low`` to ``high``."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class CategoricalDomain(Config):
    """One of a list of values."""

    type: Literal["categorical"]
    choices: Annotated[list[str | int | float | bool | None], Field(min_length=1)]


Domain = Annotated[IntDomain | FloatDomain | CategoricalDomain, Field(discriminator="type")]


class InlineSpace(RootModel[dict[str, Domain]]):
    """A search space as data. Called like a space function."""

    def __call__(self, trial: Suggest) -> dict[str, object]:
        """Suggest a value for each field."""
        return {name: suggest(trial, name, domain) for name, domain in self.root.items()}

    @property
    def values(self) -> dict[str, Sequence[object]] | None:
        """All values of each field; none where a field has no end of them."""
        found = {name: _values(domain) for name, domain in self.root.items()}
        return {name: values for name, values in found.items() if values} if all(found.values()) else None


def suggest(trial: Suggest, name: str, domain: Domain) -> object:
    """Ask a trial for a value of a field.

    A field that is asked for again keeps its value within a trial, as Optuna has it.
    """
    match domain:
        case IntDomain():
            return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
        case FloatDomain():
            return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
        case CategoricalDomain():
            return trial.suggest_categorical(name, domain.choices)


def _values(domain: IntDomain | FloatDomain | CategoricalDomain) -> Sequence[object]:
    match domain:
        case IntDomain():
            return range(domain.low, domain.high + 1)
        case FloatDomain():
            return [domain.low] if domain.low == domain.high else []
        case CategoricalDomain():
            return domain.choices
