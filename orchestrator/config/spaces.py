"""The space of a sweep, whose function may be the user's own."""

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
    """Find a space, as ``resolve_space`` does. One that has a name says it when its function fails.

    Args:
        spec: What a sweep says of its ``space``.
        search: Domains that its ``search`` puts in place of those of the space.

    Raises:
        ValueError: no such space, file or function, or a domain is not well formed.
    """
    space = _named(spec)
    if not search:
        return space
    domains = resolve_space(search)
    assert isinstance(domains, InlineSpace)  # as of any mapping
    return with_domains(space, domains)


def settings_within(
    spec: str | Mapping[str, Any], search: Mapping[str, Any], fixed: Mapping[str, Any]
) -> Iterator[Mapping[str, object]]:
    """Yield settings within the domains of a sweep, for what no trial can be without some of them.

    Nothing of a function, which may be in a file that is not at hand, and of domains that are not well formed.

    Args:
        spec: What a sweep says of its ``space``.
        search: What it says of its ``search``.
        fixed: What it fixes.
    """
    if isinstance(spec, Mapping) and (spec or search):
        with suppress(ValueError):  # told where the space itself is looked at
            yield from random_settings(find_space(spec, search), fixed)


def _named(spec: str | Mapping[str, Any]) -> SearchSpace:
    space = resolve_space(spec)
    if isinstance(spec, Mapping):
        return space

    def named(trial: Suggest) -> Mapping[str, object]:
        with naming(f"space {spec}"):
            found = space(trial)
            if not isinstance(found, Mapping):
                raise TypeError(f"it returns {found!r}, and {{field: value}} is expected")
            return found

    return named
