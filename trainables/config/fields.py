"""Fields of trials by what they decide, over all methods: read off the roles that stand at the fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from trainables.config.base import Scale
from trainables.config.methods import config_classes
from trainables.config.roles import Decides, Names, Role, roles_of
from trainables.config.trial import TrialConfig


def merged_roles(models: Iterable[type[TrialConfig]]) -> dict[str, Role]:
    """The roles of all fields of several methods, in the order of the methods and of their fields.

    Raises:
        TypeError: methods have a field of one name with different roles.
    """
    merged: dict[str, Role] = {}
    for model in models:
        for field, role in roles_of(model).items():
            if merged.setdefault(field, role) != role:
                raise TypeError(
                    f"{model.__name__}.{field} is {role}, and another method's field of that name is {merged[field]}; give "
                    "both one role, or one of them another name"
                )
    return merged


ROLES: dict[str, Role]
"""The role of each field."""

SEEDS: tuple[str, ...]
"""Sources of a trial's randomness."""

LENGTH_FIELDS: tuple[str, ...]
"""How long a trial trains."""

PERMISSION_FIELDS: tuple[str, ...]
"""Fields that let a trial run and change no number."""

WEIGHTLESS_FIELDS: tuple[str, ...]
"""Fields that change no weight: what else they change, a trial's students are the same."""

SHARED_FIELDS: tuple[str, ...]
"""Fields that no search varies: which teacher and images its trials share, the budget by which early stopping compares
them, what is allowed but changes nothing, and seeds, for a lucky one is no finding. Cases may differ in them."""

INHERITED_FIELDS: tuple[str, ...]
"""Fields in which a trial agrees with the one that it takes over from (``initial_trial``): shapes, and what was learnt."""

TEACHER_FIELDS: tuple[str, ...]
"""Fields by which a teacher is known, beside those of its images."""

_HOLDS: dict[str, Callable[[Role], bool]] = {
    "SEEDS": lambda role: role.decides is Decides.SEED,
    "LENGTH_FIELDS": lambda role: role.decides is Decides.LENGTH,
    "PERMISSION_FIELDS": lambda role: role.decides is Decides.PERMISSION,
    "WEIGHTLESS_FIELDS": lambda role: role.weightless,
    "SHARED_FIELDS": lambda role: role.shared,
    "INHERITED_FIELDS": lambda role: role.inherited,
    "TEACHER_FIELDS": lambda role: role.names is Names.TEACHER,
}
"""What a field's role must be to be in a table."""


@cache
def roles() -> dict[str, Role]:
    """Return the role of each field of any method."""
    return merged_roles(config_classes())


@cache
def logarithmic_fields() -> frozenset[str]:
    """Return the fields of any method whose values are told apart by their factor and not by their difference."""
    models = config_classes()
    return frozenset(
        name for model in models for name, field in model.model_fields.items() if Scale.LOGARITHMIC in field.metadata
    )


if not TYPE_CHECKING:  # or no misspelt name would be found

    def __getattr__(name: str) -> Any:
        # On use, since a method's config may be defined where its training is, and that in turn asks for these tables.
        if name == "ROLES":
            return roles()
        if name in _HOLDS:
            return tuple(field for field, role in roles().items() if _HOLDS[name](role))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
