"""Replacement of some domains of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from search_spaces.inline import Domain, InlineSpace, suggest
from search_spaces.registry import SearchSpace
from search_spaces.spaces import Suggest


class _ReplacingTrial:
    """Optuna trial that suggests some fields from given domains instead of those that the space names."""

    def __init__(self, trial: Suggest, domains: Mapping[str, Domain]) -> None:
        self._trial = trial
        self._domains = domains

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if name in self._domains:
            return cast(int, suggest(self._trial, name, self._domains[name]))
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name in self._domains:
            return cast(float, suggest(self._trial, name, self._domains[name]))
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object:
        if name in self._domains:
            return suggest(self._trial, name, self._domains[name])
        return self._trial.suggest_categorical(name, choices)


def with_domains(space: SearchSpace, domains: InlineSpace) -> SearchSpace:
    """Return a space in which some fields have other domains; fields that the space does not suggest are added.

    Args:
        space: Search space to change. Its conditions stay.
        domains: New domains by field.
    """

    def replaced(trial: Suggest) -> Mapping[str, object]:
        found = space(_ReplacingTrial(trial, domains.root))
        return {**found, **{name: suggest(trial, name, domain) for name, domain in domains.root.items()}}

    return replaced
