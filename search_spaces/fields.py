"""Fields that a search space suggests, found by calling the space, without importing Optuna, so that checks are fast."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from search_spaces.registry import SearchSpace
from search_spaces.spaces import Suggest

_Number = TypeVar("_Number", int, float)

_CALLS = 50
"""Number of calls of a space with random answers. Fields that are suggested only conditionally are found by chance."""


@dataclass(frozen=True, kw_only=True)
class SuggestedFields:
    """Fields that a search space suggests."""

    searched: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    """Fields that the space suggests but that have a fixed value."""

    texts: set[str] = field(default_factory=set)
    """Text values that the space has returned for any field, suggested or not."""


class PinnedTrial:
    """Optuna trial that returns the fixed value of fixed fields, so that a space need not know which fields are fixed."""

    def __init__(self, trial: Suggest, fixed: Mapping[str, Any], asked: SuggestedFields | None = None) -> None:
        self._trial = trial
        self._fixed = fixed
        self._asked = asked or SuggestedFields()

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if self._is_fixed(name):
            return self._told(name, int)
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if self._is_fixed(name):
            return self._told(name, float)
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object:
        if self._is_fixed(name):
            return self._fixed[name]
        return self._trial.suggest_categorical(name, choices)

    def _told(self, name: str, kind: type[_Number]) -> _Number:
        """Return a fixed value converted to the suggested type of number; None stays None, for fields that allow None."""
        told: _Number = self._fixed[name] if self._fixed[name] is None else kind(self._fixed[name])
        return told

    def _is_fixed(self, name: str) -> bool:
        found = name in self._fixed
        (self._asked.fixed if found else self._asked.searched).add(name)
        return found


class _RandomTrial:
    """Trial that answers at random, without a study. Invalid domains are left for Optuna to report."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return low + step * int(self._draws.random() * ((high - low) // step + 1))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self._draws.uniform(low, high)

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object:
        return choices[int(self._draws.random() * len(choices))] if choices else None


def random_settings(space: SearchSpace, fixed: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    """Yield the settings that a space returns in ``_CALLS`` calls with random answers from a fixed seed.

    Args:
        space: Search space.
        fixed: Fields that have one value for all trials.
    """
    draws = random.Random(0)
    for _ in range(_CALLS):
        yield space(PinnedTrial(_RandomTrial(draws), fixed))


def suggested_fields(space: SearchSpace, fixed: Mapping[str, Any]) -> SuggestedFields:
    """Return the fields that a space suggests in ``_CALLS`` calls with random answers.

    Args:
        space: Search space.
        fixed: Fields that have one value for all trials.
    """
    asked, draws = SuggestedFields(), random.Random(0)
    for _ in range(_CALLS):
        given = space(PinnedTrial(_RandomTrial(draws), fixed, asked))
        asked.texts.update(value for value in given.values() if isinstance(value, str))
    return asked
