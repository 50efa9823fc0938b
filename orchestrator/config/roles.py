"""What a field of a sweep's config decides, said at the field; for fields of a trial see ``trainables.config.roles``."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel


class SweepRole(Enum):
    """What a field of a sweep decides. Each field has exactly one."""

    NAME = "what the sweep is called"
    TRIALS = "what each of its trials is, whatever varies"
    SEARCH = "which trials it has, and how they are compared"
    PERMISSION = "whether it may run; no number changes, so it may go on with another value than it began with"
    EXTENT = "how many of its trials run"
    EXECUTION = "how and where trials run, and not what they are: a sweep that is made from another keeps it"
    OUTPUT = "what is told of it, and where"


IDENTITY = (SweepRole.NAME, SweepRole.TRIALS, SweepRole.SEARCH, SweepRole.PERMISSION)
"""Roles of the fields by which a sweep is another one, with another id."""


def sweep_roles(model: type[BaseModel]) -> dict[str, SweepRole]:
    """The role of each field, in the order of the fields.

    Raises:
        TypeError: a field has none, or more than one.
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
    """The fields that have one of these roles."""
    return tuple(name for name, role in sweep_roles(model).items() if role in roles)
