"""Roles of a trial's fields: each field's annotation declares what the field decides.

Whoever adds a field picks one of the functions below, calls it in the field's annotation and gives all its arguments. No
argument has a default, and importing a config with a field without a role fails. The role alone determines how the rest of
the program treats a field: whether a search may vary it, whether trials that differ in it are comparable, and whether it
identifies the teacher.

    student_lr: Annotated[Rate, setting(cost=Cost.NONE, inherited=False)] = 2e-3
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel


class Decides(Enum):
    """Aspect of a trial that a field decides."""

    INPUT = "the trial's inputs: method, images or teacher"
    LOCATION = "where an input is read whose content other fields identify"
    START = "which other trial's weights the trial starts from"
    LENGTH = "how long the trial trains"
    SETTING = "how the trial trains, and so the student's weights"
    SEED = "the random numbers, and so the student's weights"
    MEASUREMENT = "what is measured of the trial, and how often"
    EXECUTION = "how the same numbers are computed"
    PERMISSION = "whether the trial may run"


class Cost(Enum):
    """Effect of a field on a trial's run time: decides which earlier trials predict the run time of a planned trial."""

    EQUAL = "changes the kind of work: only trials with an equal value are comparable"
    SWITCH = "adds work if the value is neither 0 nor none; the size of the value has no effect"
    AMOUNT = "changes the amount of work: run time grows in proportion"
    COLUMN = "does not determine the work; a column of the result row records it"
    NONE = "has no effect on the run time"


class Names(Enum):
    """Shared input that a field helps to identify: trials with equal values in all its fields share that input."""

    IMAGES = "the images, see ``SplitsKey``"
    TEACHER = "the teacher, see ``TeacherKey``"
    NOTHING = "no shared input"


class Column(Enum):
    """Marker for fields that only some result rows have a column for. Fields without this marker always have a column."""

    WHERE_GIVEN = "only rows whose trial sets the field; it is none by default"


@dataclass(frozen=True, kw_only=True)
class Role:
    """Everything that a field's annotation declares about the field; created by the functions below."""

    decides: Decides
    cost: Cost
    names: Names
    shared: bool
    """Whether all trials of a search have the same value, so that no search space may vary the field. Cases may differ."""

    inherited: bool
    """Whether a trial must have the same value as the trial whose state it takes over (``initial_trial``): true for fields
    that decide the shapes of the weights, or what has been learnt."""

    told_by: str | None
    """Column that shows whether the measurement was made: a metric, which is null if not, or the field itself, whose value
    must be equal. None: the field's value does not matter when trials are compared."""

    @property
    def weightless(self) -> bool:
        """Whether the student's weights are bit for bit the same whatever the field's value."""
        return self.decides in {Decides.MEASUREMENT, Decides.EXECUTION, Decides.PERMISSION}


def setting(*, cost: Cost, inherited: bool) -> Role:
    """Return the role of a field that decides how a trial trains, which a search may vary."""
    return _role(Decides.SETTING, cost=cost, inherited=inherited, shared=False)


def execution(*, cost: Cost) -> Role:
    """Return the role of a field that decides how the same numbers are computed, which a search may vary."""
    return _role(Decides.EXECUTION, cost=cost, shared=False)


def given(*, cost: Cost, names: Names, inherited: bool) -> Role:
    """Return the role of a field of method, images or teacher, which is equal in all trials of a search."""
    return _role(Decides.INPUT, cost=cost, names=names, inherited=inherited)


def location(*, names: Names) -> Role:
    """Return the role of a field that decides where an input is read; other fields identify its content."""
    return _role(Decides.LOCATION, cost=Cost.NONE, names=names)


def start(*, cost: Cost) -> Role:
    """Return the role of a field that names another trial whose weights the trial starts from."""
    return _role(Decides.START, cost=cost)


def length(*, cost: Cost) -> Role:
    """Return the role of a field that decides how long a trial trains.

    Early stopping compares trials by shares of this budget.
    """
    return _role(Decides.LENGTH, cost=cost)


def random_seed(*, names: Names, inherited: bool) -> Role:
    """Return the role of a seed, which no search varies: a lucky seed is no finding."""
    return _role(Decides.SEED, cost=Cost.NONE, names=names, inherited=inherited)


def measurement(*, cost: Cost, told_by: str | None) -> Role:
    """Return the role of a field that decides what is measured of a trial, or how often; see ``Role.told_by``."""
    return _role(Decides.MEASUREMENT, cost=cost, told_by=told_by)


def permission(*, cost: Cost) -> Role:
    """Return the role of a field that decides whether a trial may run and changes no number.

    A sweep may be resumed with another value than it began with.
    """
    return _role(Decides.PERMISSION, cost=cost)


def roles_of(model: type[BaseModel]) -> dict[str, Role]:
    """Return the role of each field of a trial's config, in the order of the fields.

    Raises:
        TypeError: a field has no role, or more than one.
    """
    roles = {}
    for name, field in model.model_fields.items():
        found = [role for role in field.metadata if isinstance(role, Role)]
        if len(found) != 1:
            raise TypeError(
                f"{model.__name__}.{name} has {len(found)} roles; write Annotated[TYPE, ROLE] with one of "
                "trainables.config.roles, which says what the field decides"
            )
        roles[name] = found[0]
    return roles


def _role(
    decides: Decides,
    *,
    cost: Cost,
    names: Names = Names.NOTHING,
    shared: bool = True,
    inherited: bool = False,
    told_by: str | None = None,
) -> Role:
    """Return a role; the defaults are what most kinds of field have in common."""
    return Role(decides=decides, cost=cost, names=names, shared=shared, inherited=inherited, told_by=told_by)
