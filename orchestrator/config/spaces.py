"""The space of a sweep, whose function may be the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import naming
from search_spaces import InlineSpace, SearchSpace, resolve_space
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
