"""What a field of a trial decides, said at the field.

Whoever adds a field says what kind of field it is, by calling one of the functions below in its annotation, and answers what
that function asks. No answer has a default, and a field without a role is refused when its config is imported: what other
places do with a field (whether a search may vary it, whether trials that differ in it can be compared, whether it belongs to
a teacher's name) follows from its role alone.

    student_lr: Annotated[Rate, setting(cost=Cost.NONE, inherited=False)] = 2e-3
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel


class Decides(Enum):
    """What a field decides."""

    INPUT = "method, images or teacher: what a trial is given"
    LOCATION = "where an input is read that other fields name"
    START = "which other trial's weights a trial begins with"
    LENGTH = "how long a trial trains"
    SETTING = "how a trial trains, and with it the student's weights"
    SEED = "what is drawn at random, and with it the student's weights"
    MEASUREMENT = "what is measured of a trial, and how often"
    EXECUTION = "how the same numbers are computed"
    PERMISSION = "whether a trial may run"


class Cost(Enum):
    """What a field does to the seconds that a trial takes: whether an earlier trial tells what a planned one will take."""

    EQUAL = "changes the work: only trials with an equal value are comparable"
    SWITCH = "changes the work where it is on, neither 0 nor none, and not by how much"
    AMOUNT = "changes how much of the same work there is, which is in proportion"
    COLUMN = "leaves open what a trial does; a column of its row tells"
    NONE = "changes nothing"


class Names(Enum):
    """What a field is part of the name of: trials that agree in all of these fields share it."""

    IMAGES = "the images, see ``SplitsKey``"
    TEACHER = "the teacher, see ``TeacherKey``"
    NOTHING = "nothing that trials share"


class Column(Enum):
    """When rows have a column of a field. Of one that says nothing they always do."""

    WHERE_GIVEN = "only where the field is given; it is none by default"


@dataclass(frozen=True, kw_only=True)
class Role:
    """All that is known of a field; made by the functions below."""

    decides: Decides
    cost: Cost
    names: Names
    shared: bool
    """Whether all trials of a search have the same value, so that no space may vary it. Cases may differ."""

    inherited: bool
    """Whether a trial must agree with the one that it takes over from (``initial_trial``): shapes, and what was learnt."""

    told_by: str | None
    """Column that tells whether a trial was measured as wanted: a metric, null if not, or the field itself, by its value.
    None: every trial is measured well enough."""

    @property
    def weightless(self) -> bool:
        """Whether the student's weights are the same bits whatever the value is."""
        return self.decides in {Decides.MEASUREMENT, Decides.EXECUTION, Decides.PERMISSION}


def setting(*, cost: Cost, inherited: bool) -> Role:
    """How a trial trains: what a search is for."""
    return _role(Decides.SETTING, cost=cost, inherited=inherited, shared=False)


def execution(*, cost: Cost) -> Role:
    """How the same numbers are computed; a search may vary it."""
    return _role(Decides.EXECUTION, cost=cost, shared=False)


def given(*, cost: Cost, names: Names, inherited: bool) -> Role:
    """The method, the images or the teacher, by which trials of a search are comparable."""
    return _role(Decides.INPUT, cost=cost, names=names, inherited=inherited)


def location(*, names: Names) -> Role:
    """Where an input is read that other fields name: elsewhere it is the same."""
    return _role(Decides.LOCATION, cost=Cost.NONE, names=names)


def start(*, cost: Cost) -> Role:
    """Another trial whose weights this one begins with."""
    return _role(Decides.START, cost=cost)


def length(*, cost: Cost) -> Role:
    """How long a trial trains: the budget by which early stopping compares trials."""
    return _role(Decides.LENGTH, cost=cost)


def random_seed(*, names: Names, inherited: bool) -> Role:
    """A source of randomness, which no search varies: a lucky one is no finding."""
    return _role(Decides.SEED, cost=Cost.NONE, names=names, inherited=inherited)


def measurement(*, cost: Cost, told_by: str | None) -> Role:
    """What is measured of a trial, or how often, see ``Role.told_by``."""
    return _role(Decides.MEASUREMENT, cost=cost, told_by=told_by)


def permission(*, cost: Cost) -> Role:
    """Lets a trial run and changes no number: a sweep may go on with another value than it began with."""
    return _role(Decides.PERMISSION, cost=cost)


def roles_of(model: type[BaseModel]) -> dict[str, Role]:
    """The role of each field of a trial's config, in the order of its fields.

    Raises:
        TypeError: a field has none, or more than one.
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
    """A role, of which what its kind settles need not be said."""
    return Role(decides=decides, cost=cost, names=names, shared=shared, inherited=inherited, told_by=told_by)
