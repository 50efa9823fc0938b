"""Roles: what each field of a sweep's config decides, annotated at the field. ``trainables.config.roles`` has a trial's."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel


class SweepRole(Enum):
    """What a field of a sweep decides. Each field has exactly one role."""

    NAME = "the sweep's name"
    TRIALS = "what all trials of the sweep have in common"
    SEARCH = "which trials the sweep has, and how they are compared"
    PERMISSION = "whether the sweep may run; no result changes, so that a resumed sweep may have another value"
    EXTENT = "how many of the sweep's trials run"
    EXECUTION = "how and where trials run, but not what they compute; a sweep derived from another keeps the value"
    OUTPUT = "what is written about the sweep, and where"


IDENTITY = (SweepRole.NAME, SweepRole.TRIALS, SweepRole.SEARCH, SweepRole.PERMISSION)
"""Roles of the fields that are part of a sweep's identity and id."""


def sweep_roles(model: type[BaseModel]) -> dict[str, SweepRole]:
    """Return the role of each field, in the order of the fields.

    Raises:
        TypeError: a field has no role, or more than one.
    """
    roles = {}
    for name, field in model.model_fields.items():
        found = [role for role in field.metadata if isinstance(role, SweepRole)]
        if len(found) != 1:
            raise TypeError(
                f"{model.__name__}.{name} has {len(found)} roles; write Annotated[TYPE, SweepRole.ROLE] with one of "
                f"{', '.join(role.name for role in SweepRole)}, which says what the field decides"
            )
        roles[name] = found[0]
    return roles


def sweep_fields(model: type[BaseModel], *roles: SweepRole) -> tuple[str, ...]:
    """Return the names of the fields that have one of these roles."""
    return tuple(name for name, role in sweep_roles(model).items() if role in roles)
