"""Fields of trials by what they decide: read off the roles that stand at the fields.

Each function takes the config classes whose fields are asked for; without any it answers for all of this project's methods.
A sweep's own are those of its configs, which a user's method may be among.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

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


@cache
def roles() -> dict[str, Role]:
    """Return the role of each field of any of this project's methods.

    Read on use and not at import, since a method's config may be defined where its training is, which in turn imports this.
    """
    return merged_roles(config_classes())


@cache
def seed_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the sources of a trial's randomness."""
    return _fields_of(models, lambda role: role.decides is Decides.SEED)


@cache
def length_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that say how long a trial trains."""
    return _fields_of(models, lambda role: role.decides is Decides.LENGTH)


@cache
def permission_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that let a trial run and change no number."""
    return _fields_of(models, lambda role: role.decides is Decides.PERMISSION)


@cache
def weightless_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that change no weight: what else they change, a trial's students are the same."""
    return _fields_of(models, lambda role: role.weightless)


@cache
def shared_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that no search varies; cases may differ in them.

    These are: which teacher and images its trials share, the budget by which early stopping compares them, what is allowed
    but changes nothing, and seeds, for a lucky one is no finding.
    """
    return _fields_of(models, lambda role: role.shared)


@cache
def inherited_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields in which a trial agrees with the one that it takes over from (``initial_trial``).

    These are shapes, and what was learnt.
    """
    return _fields_of(models, lambda role: role.inherited)


@cache
def teacher_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields by which a teacher is known, beside those of its images."""
    return _fields_of(models, lambda role: role.names is Names.TEACHER)


@cache
def logarithmic_fields() -> frozenset[str]:
    """Return the fields of any method whose values are told apart by their factor and not by their difference."""
    models = config_classes()
    return frozenset(
        name for model in models for name, field in model.model_fields.items() if Scale.LOGARITHMIC in field.metadata
    )


def _fields_of(models: Iterable[type[TrialConfig]], holds: Callable[[Role], bool]) -> tuple[str, ...]:
    """Return the fields of any of the methods about whose role something holds."""
    tables = [roles_of(model) for model in models] or [roles()]
    return tuple(dict.fromkeys(field for table in tables for field, role in table.items() if holds(role)))
