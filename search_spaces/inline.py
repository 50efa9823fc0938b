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
    """Domain of the whole numbers from ``low`` to ``high``, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class FloatDomain(Config):
    """Domain of the numbers from ``low`` to ``high``, both included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class CategoricalDomain(Config):
    """Domain of a list of values."""

    type: Literal["categorical"]
    choices: Annotated[list[str | int | float | bool | None], Field(min_length=1)]


Domain = Annotated[IntDomain | FloatDomain | CategoricalDomain, Field(discriminator="type")]


class InlineSpace(RootModel[dict[str, Domain]]):
    """Search space given as data, which can be called like a space function."""

    def __call__(self, trial: Suggest) -> dict[str, object]:
        """Suggest a value for each field."""
        return {name: suggest(trial, name, domain) for name, domain in self.root.items()}

    @property
    def values(self) -> dict[str, Sequence[object]] | None:
        """All values of each field. None if a field has infinitely many values."""
        found = {name: _values(domain) for name, domain in self.root.items()}
        return {name: values for name, values in found.items() if values} if all(found.values()) else None


def suggest(trial: Suggest, name: str, domain: Domain) -> object:
    """Return the value that a trial suggests for a field.

    If a field is suggested again within a trial, Optuna returns the same value.
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
