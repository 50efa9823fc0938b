"""Fields of trials by what they decide, over all methods: read off the roles that stand at the fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trainables.config.methods import CONFIGS
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


ROLES = merged_roles(CONFIGS.values())
"""The role of each field."""


def fields_where(holds: Callable[[Role], bool]) -> tuple[str, ...]:
    """The fields whose role is such."""
    return tuple(field for field, role in ROLES.items() if holds(role))


SEEDS = fields_where(lambda role: role.decides is Decides.SEED)
"""Sources of a trial's randomness."""

START_FIELDS = fields_where(lambda role: role.decides is Decides.START)
"""Fields that name another trial, with whose weights a trial begins."""

LENGTH_FIELDS = fields_where(lambda role: role.decides is Decides.LENGTH)
"""How long a trial trains."""

PERMISSION_FIELDS = fields_where(lambda role: role.decides is Decides.PERMISSION)
"""Fields that let a trial run and change no number."""

WEIGHTLESS_FIELDS = fields_where(lambda role: role.weightless)
"""Fields that change no weight: what else they change, a trial's students are the same."""

SHARED_FIELDS = fields_where(lambda role: role.shared)
"""Fields that no search varies: which teacher and images its trials share, the budget by which early stopping compares
them, what is allowed but changes nothing, and seeds, for a lucky one is no finding. Cases may differ in them."""

INHERITED_FIELDS = fields_where(lambda role: role.inherited)
"""Fields in which a trial agrees with the one that it takes over from (``initial_trial``): shapes, and what was learnt."""

TEACHER_FIELDS = fields_where(lambda role: role.names is Names.TEACHER)
"""Fields by which a teacher is known, beside those of its images."""
