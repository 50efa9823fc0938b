"""The space of a sweep, whose function may be the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import naming
from search_spaces import SearchSpace, resolve_space
from search_spaces.spaces import Suggest


def find_space(spec: str | Mapping[str, Any]) -> SearchSpace:
    """Find a space, as ``resolve_space`` does. One that has a name says it when its function fails.

    Raises:
        ValueError: no such space, file or function, or a domain is not well formed.
    """
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
