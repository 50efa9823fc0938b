"""Lists of a trial's fields by what they decide, derived from the roles in the fields' annotations.

Each function takes the config classes whose fields it lists; without arguments it lists the fields of all methods of this
project. For a sweep, pass the classes of its configs, since a method of the user's own may be among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from trainables.config.base import Scale
from trainables.config.methods import config_classes
from trainables.config.roles import Decides, Names, Role, roles_of
from trainables.config.trial import TrialConfig


def merged_roles(models: Iterable[type[TrialConfig]]) -> dict[str, Role]:
    """Return the roles of all fields of several methods, in the order of the methods and of their fields.

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
    """Return the role of each field of this project's methods.

    The roles are read on call, not at import: a method's config may be defined in the module of its training, which imports
    this module.
    """
    return merged_roles(config_classes())


@cache
def seed_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the seed fields: the sources of randomness of a trial."""
    return _fields_of(models, lambda role: role.decides is Decides.SEED)


@cache
def length_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that decide how long a trial trains."""
    return _fields_of(models, lambda role: role.decides is Decides.LENGTH)


@cache
def permission_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that decide only whether a trial may run, and change none of its numbers."""
    return _fields_of(models, lambda role: role.decides is Decides.PERMISSION)


@cache
def weightless_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that change no weight: trials that differ only in these fields have identical students."""
    return _fields_of(models, lambda role: role.weightless)


@cache
def shared_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that have one value in all trials of a search; cases may differ in these fields.

    The fields are: teacher and images, the budget by which early stopping compares trials, measurements, permissions, and
    seeds (a lucky seed is no finding).
    """
    return _fields_of(models, lambda role: role.shared)


@cache
def inherited_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields in which a trial must agree with the trial whose state it takes over (``initial_trial``).

    These fields decide the shapes of the weights, and what has been learnt.
    """
    return _fields_of(models, lambda role: role.inherited)


@cache
def teacher_fields(*models: type[TrialConfig]) -> tuple[str, ...]:
    """Return the fields that identify a teacher, besides the fields of its images."""
    return _fields_of(models, lambda role: role.names is Names.TEACHER)


@cache
def logarithmic_fields() -> frozenset[str]:
    """Return the fields of this project's methods whose values are compared by ratio, not by difference."""
    models = config_classes()
    return frozenset(
        name for model in models for name, field in model.model_fields.items() if Scale.LOGARITHMIC in field.metadata
    )


def _fields_of(models: Iterable[type[TrialConfig]], holds: Callable[[Role], bool]) -> tuple[str, ...]:
    """Return the fields of the given methods (default: all of this project's) whose role meets a condition."""
    tables = [roles_of(model) for model in models] or [roles()]
    return tuple(dict.fromkeys(field for table in tables for field, role in table.items() if holds(role)))
