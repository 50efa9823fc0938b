"""From what a preset says of its space to a function of an Optuna trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces.inline import InlineSpace
from search_spaces.spaces import SPACES, Suggest
from trainables.system.own_files import run_file

SearchSpace = Callable[[Suggest], Mapping[str, object]]
"""Takes an Optuna trial, returns ``{field of the trial: value}``; parameters are named after their fields."""


def space_names() -> list[str]:
    """Names of the spaces in ``spaces.py``."""
    return sorted(SPACES)


def resolve_space(spec: str | Mapping[str, Any]) -> SearchSpace:
    """Find a space.

    Args:
        spec: A name from ``space_names()``; ``file.py:function`` of the user's own; or ``{field: domain}``.

    Raises:
        ValueError: no such space, file or function, the file fails, or a domain is not well formed.
    """
    if isinstance(spec, Mapping):
        try:
            return InlineSpace.model_validate(spec)
        except ValidationError as error:
            findings = (f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
            raise ValueError("space: " + "; ".join(findings)) from error
    if ".py:" in spec:
        file, _, function = spec.rpartition(":")
        try:
            names = run_file(file)
        except FileNotFoundError as error:
            raise ValueError(f"space {spec!r}: there is no file {file}") from error
        except (Exception, SystemExit) as error:
            raise ValueError(f"space {spec!r}: {file} fails: {type(error).__name__}: {error}") from error
        if not callable(names.get(function)):
            raise ValueError(f"space {spec!r}: {file} defines no function {function}")
        space: SearchSpace = names[function]
        return space
    if spec not in SPACES:
        raise ValueError(f"unknown space {spec!r}; known: {', '.join(space_names())}, FILE.py:FUNCTION, or domains")
    return SPACES[spec]
