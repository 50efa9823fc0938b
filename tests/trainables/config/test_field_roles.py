"""What fields say of themselves holds: whole trials of a few pseudo batches, each field of each method changed in turn."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import torch

from tests.support.roles import FIELDS, NEEDED, another, base_config, same_student, student_of
from tests.support.tiny import make_distiller
from trainables.config import (
    METHODS,
    AnyTrialConfig,
    SplitsKey,
    SupervisedConfig,
    TeacherKey,
    config_classes,
)
from trainables.config.fields import merged_roles, roles
from trainables.config.roles import (
    Cost,
    Decides,
    Names,
    Role,
    execution,
    given,
    length,
    location,
    measurement,
    permission,
    random_seed,
    roles_of,
    setting,
    start,
)
from trainables.errors import CheckpointError
from trainables.metrics import METRICS
from trainables.teachers.registry import recipe_key


def fields_of(*kinds: Decides) -> list[Any]:
    """The fields of all methods that decide one of these."""
    return [pytest.param(m, f, id=f"{m}-{f}") for m, f in FIELDS if roles()[f].decides in kinds]


def changed(config: AnyTrialConfig, field: str) -> AnyTrialConfig:
    return type(config).model_validate({**config.model_dump(), field: another(config, field)})


def test_a_trial_can_be_repeated() -> None:
    for method in METHODS:
        config = base_config(method, "")
        before = student_of(config.model_dump_json(), method)
        student_of.cache_clear()
        again = student_of(config.model_dump_json(), method)
        assert all(torch.equal(before[key], again[key]) for key in before), "the comparisons below tell nothing"


WEIGHTLESS = fields_of(Decides.MEASUREMENT, Decides.EXECUTION, Decides.PERMISSION)


@pytest.mark.parametrize(("method", "field"), WEIGHTLESS)
def test_a_weightless_field_leaves_the_students_bits_alone(method: str, field: str) -> None:
    config = base_config(method, field)
    assert roles()[field].weightless
    assert same_student(config, changed(config, field))


@pytest.mark.parametrize(
    ("method", "field"), [param for param in fields_of(Decides.SEED) if roles()[param.values[1]].names is Names.NOTHING]
)
def test_a_seed_changes_the_students_bits(method: str, field: str) -> None:
    config = base_config(method, field)
    assert not same_student(config, changed(config, field))


@pytest.mark.parametrize(("method", "field"), fields_of(Decides.SETTING, Decides.LENGTH))
def test_a_setting_changes_the_students_bits(method: str, field: str) -> None:
    if field == "compilation":
        return  # of wide networks alone: tests/trainables/training/test_distiller.py
    config = base_config(method, field)
    assert not same_student(config, changed(config, field))


@pytest.mark.parametrize(("method", "field"), FIELDS)
def test_a_length_and_nothing_else_changes_budget_or_horizon(method: str, field: str) -> None:
    def how_long(config: AnyTrialConfig) -> tuple[int, int | None]:
        return config.budget, getattr(config, "horizon", None)

    config = base_config(method, field)
    other = config.model_copy(update={field: another(config, field)})
    assert (how_long(other) != how_long(config)) == (roles()[field].decides is Decides.LENGTH)


@pytest.mark.parametrize(("method", "field"), FIELDS)
def test_images_and_teachers_are_known_by_the_fields_that_say_so(method: str, field: str) -> None:
    config = base_config(method, "")
    other = config.model_copy(update={field: another(config, field)})
    names = roles()[field].names
    assert (other.splits_key != config.splits_key) == (names is Names.IMAGES)
    assert (other.teacher_key != config.teacher_key) == (names in {Names.IMAGES, Names.TEACHER})
    assert (field in SplitsKey._fields, field in TeacherKey._fields) == (names is Names.IMAGES, names is Names.TEACHER)


@pytest.mark.parametrize("field", SupervisedConfig.model_fields)
def test_a_trained_teacher_is_known_by_all_that_decides_its_weights(field: str) -> None:
    config = base_config("supervised", field)
    assert isinstance(config, SupervisedConfig)
    other = config.model_copy(update={field: another(config, field)})
    role = roles()[field]
    if role.decides in {Decides.INPUT, Decides.START} or role.names is Names.TEACHER:
        expected = False  # other images, another teacher of the teacher, or other weights to begin with
    elif field == "dataset_file":
        expected = True  # wherever the file lies, it holds the data set of that name
    else:
        expected = same_student(config, other)
    assert (recipe_key(other) == recipe_key(config)) == expected


@pytest.mark.parametrize("field", [field for method, field in FIELDS if method == "zero_shot"])
def test_a_trial_takes_over_from_another_that_agrees_in_the_inherited_fields(field: str) -> None:
    donor = make_distiller(**NEEDED.get(field, {}))
    donor.train(2)
    if roles()[field].inherited:
        state = donor.state_dict()
        state["config"] |= {field: another(donor.config, field)}
        with pytest.raises(CheckpointError, match=f"{field}="):
            make_distiller(**NEEDED.get(field, {})).inherit(state)
        return
    heir = make_distiller(**{**NEEDED.get(field, {}), field: another(donor.config, field)})
    heir.inherit(donor.state_dict())
    heir.advance()


def test_a_measurement_is_told_by_a_column_of_its_row() -> None:
    metrics = {metric.name for metric in METRICS}
    told = {field: role.told_by for field, role in roles().items() if role.told_by is not None}
    assert told
    assert all(column == field or column in metrics for field, column in told.items())
    assert {roles()[field].decides for field in told} == {Decides.MEASUREMENT}


def test_a_field_without_a_role_is_refused_at_import() -> None:
    with pytest.raises(TypeError, match=r"Forgetful.warmup has 0 roles; write Annotated\[TYPE, ROLE\]"):

        class Forgetful(SupervisedConfig):
            warmup: int = 0

    with pytest.raises(TypeError, match="Undecided.warmup has 2 roles"):

        class Undecided(SupervisedConfig):
            warmup: Annotated[int, setting(cost=Cost.NONE, inherited=False), permission(cost=Cost.NONE)] = 0


def test_a_role_has_no_default() -> None:
    makers: list[Any] = [setting, execution, given, location, start, length, random_seed, measurement, permission, Role]
    for make in makers:
        with pytest.raises(TypeError, match="missing"):
            make()


def test_methods_agree_on_what_a_field_of_one_name_decides() -> None:
    class Other(SupervisedConfig):
        momentum: Annotated[float, permission(cost=Cost.NONE)] = 0.9

    with pytest.raises(TypeError, match=r"Other\.momentum is Role.* and another method's field of that name"):
        merged_roles([SupervisedConfig, Other])
    assert merged_roles(config_classes()) == roles()
    assert roles_of(Other)["momentum"] == permission(cost=Cost.NONE)
