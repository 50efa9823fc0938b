"""Resolution of a sweep's ``space:`` to a function of an Optuna trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces.inline import InlineSpace
from search_spaces.spaces import SPACES, Suggest
from trainables.config.plugins import load_from_file
from trainables.system.own_files import file_of

SearchSpace = Callable[[Suggest], Mapping[str, object]]
"""Function of an Optuna trial that returns ``{field of the trial: value}``; parameters are named after their fields."""


def space_names() -> list[str]:
    """Return the names of the spaces in ``spaces.py``, sorted."""
    return sorted(SPACES)


def resolve_space(spec: str | Mapping[str, Any]) -> SearchSpace:
    """Return the search space that a sweep's ``space:`` describes.

    Args:
        spec: A name from ``space_names()``, a user's own ``file.py:function``, or ``{field: domain}``.

    Raises:
        ValueError: there is no such space, file or function, the file fails, or a domain is invalid.
    """
    if isinstance(spec, Mapping):
        try:
            return InlineSpace.model_validate(spec)
        except ValidationError as error:
            findings = (f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
            raise ValueError("space: " + "; ".join(findings)) from error
    if file_of(spec):
        space: SearchSpace = load_from_file("space", spec)
        if not callable(space):
            raise ValueError(f"space {spec!r}: expected a function, found {space!r}")
        return space
    if spec not in SPACES:
        raise ValueError(f"unknown space {spec!r}; known: {', '.join(space_names())}, FILE.py:FUNCTION, or domains")
    return SPACES[spec]
