"""The search space of a sweep, which may be a function of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.errors import naming
from search_spaces import InlineSpace, SearchSpace, resolve_space
from search_spaces.fields import random_settings
from search_spaces.replacing import with_domains
from search_spaces.spaces import Suggest


def find_space(spec: str | Mapping[str, Any], search: Mapping[str, Any]) -> SearchSpace:
    """Find a space as ``resolve_space`` does; errors of a named space's function then name the space.

    Args:
        spec: Value of the sweep's field ``space``.
        search: Value of the sweep's field ``search``, whose domains replace those of the space.

    Raises:
        ValueError: no such space, file or function, or a malformed domain.
    """
    space = _named(spec)
    if not search:
        return space
    domains = resolve_space(search)
    assert isinstance(domains, InlineSpace)  # resolve_space returns one for any mapping
    return with_domains(space, domains)


def settings_within(
    spec: str | Mapping[str, Any], search: Mapping[str, Any], fixed: Mapping[str, Any]
) -> Iterator[Mapping[str, object]]:
    """Yield random settings from a sweep's domains, for checks that need values of the searched fields.

    Yields nothing for a function, whose file may be missing, and nothing more at a malformed domain.

    Args:
        spec: Value of the sweep's field ``space``.
        search: Value of the sweep's field ``search``.
        fixed: Fixed fields of the trial.
    """
    if isinstance(spec, Mapping) and (spec or search):
        with suppress(ValueError):  # the check of the space itself reports malformed domains
            yield from random_settings(find_space(spec, search), fixed)


def _named(spec: str | Mapping[str, Any]) -> SearchSpace:
    space = resolve_space(spec)
    if isinstance(spec, Mapping):
        return space

    def named(trial: Suggest) -> Mapping[str, object]:
        with naming(f"space {spec}"):
            found = space(trial)
            if not isinstance(found, Mapping):
                raise TypeError(f"expected a function that returns {{field: value}}, but it returned {found!r}")
            return found

    return named
