"""Sweeps do with a field what it says of itself; of what fields cost, see tests/orchestrator/costs/test_earlier.py."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from orchestrator.analysis.cases import read_cases
from orchestrator.config import RUN_FIELDS, SweepConfig, SweepRole
from orchestrator.config.blocks import BoundConfig
from orchestrator.config.loading import load_sweep
from orchestrator.config.roles import IDENTITY, sweep_fields, sweep_roles
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.results.sessions import session_row
from orchestrator.run.checks import check_same_sweep
from orchestrator.search.space import resolve_domains
from orchestrator.storage import SweepStore
from tests.support.permission_fields import RUN_OTHERWISE
from tests.support.roles import FIELDS, TINY, another, base_config, same_student
from tests.support.rows import trial
from trainables.config import AnyTrialConfig, ZeroShotConfig, config_classes
from trainables.config.fields import roles
from trainables.config.roles import Decides
from trainables.storage.object_store import ObjectStore

EACH_FIELD = pytest.mark.parametrize(("method", "field"), [pytest.param(m, f, id=f"{m}-{f}") for m, f in FIELDS])
MEASUREMENTS = [(method, field) for method, field in FIELDS if roles()[field].told_by is not None]


def search(method: str, **more: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "a", "trial": TINY[method], "num_trials": 1, **more})


def space_of(config: AnyTrialConfig, field: str) -> dict[str, Any]:
    """A space of this one field, whose value is allowed whatever it means."""
    return {field: {"type": "categorical", "choices": [getattr(config, field)]}}


@EACH_FIELD
def test_a_space_may_vary_a_field_unless_all_trials_share_it(method: str, field: str) -> None:
    config = base_config(method, "")
    fixed = {name: value for name, value in TINY[method].items() if name not in {field, "method"}}
    sweep = search(method).model_copy(update={"trial": {**fixed, "method": method}, "space": space_of(config, field)})
    if roles()[field].shared:
        with pytest.raises(ConfigError, match=f"space: {field} cannot vary within a sweep"):
            resolve_domains(sweep)
    else:
        assert resolve_domains(sweep)[1].keys() - {"method"} == {field}


@pytest.mark.parametrize("field", ZeroShotConfig.model_fields)
def test_a_population_may_explore_what_is_neither_shared_nor_inherited(field: str) -> None:
    config = base_config("zero_shot", "")
    pbt = {"name": "pbt", "population": 2, "generations": 2}
    searched = {"temperature": {"type": "float", "low": 1, "high": 2}}
    population = SweepConfig.model_validate(
        {"name": "a", "trial": TINY["zero_shot"], "space": searched, "scheduler": pbt}
    )
    fixed = {name: value for name, value in TINY["zero_shot"].items() if name != field}
    sweep = population.model_copy(update={"trial": fixed, "space": space_of(config, field)})
    if roles()[field].shared or roles()[field].inherited:
        with pytest.raises(ConfigError, match=f"space: {field} cannot vary within a sweep"):
            resolve_domains(sweep)
    else:
        assert resolve_domains(sweep)[1].keys() == {field}


def case_of(config: AnyTrialConfig) -> SweepConfig:
    return SweepConfig.model_validate({"name": "a", "cases": {"it": config.model_dump(exclude={"seed"})}})


def write(store: ObjectStore, config: AnyTrialConfig, **changes: Any) -> None:
    """A completed trial of this config, in another sweep."""
    nothing = {CONFIG_PREFIX + name: None for model in config_classes() for name in model.model_fields}
    settings = {CONFIG_PREFIX + name: value for name, value in config.model_dump().items()}
    ResultWriter(SweepStore(store, "elsewhere")).write_trial(trial(**{**nothing, **settings, **changes}))


@EACH_FIELD
def test_a_case_is_settled_by_any_trial_that_differs_in_no_weight(method: str, field: str, store: ObjectStore) -> None:
    config = base_config(method, "")
    write(store, config, **{CONFIG_PREFIX + field: another(config, field)})
    if field == "method":
        return  # its other value is no method
    found = read_cases(SweepStore(store, "here"), case_of(config)).rows
    assert bool(found) == roles()[field].weightless


@pytest.mark.parametrize(("method", "field"), MEASUREMENTS)
def test_a_case_is_settled_only_by_a_trial_that_was_measured_as_wanted(
    method: str, field: str, store: ObjectStore
) -> None:
    config = base_config(method, "")
    wanted = config if getattr(config, field) else config.model_copy(update={field: another(config, field)})
    column = roles()[field].told_by
    measured = {str(column): 0.5} if column != field else {}
    write(store, config, **{**dict.fromkeys(measured), CONFIG_PREFIX + field: None})
    assert not read_cases(SweepStore(store, "here"), case_of(wanted)).rows
    write(store, wanted, **measured)
    assert read_cases(SweepStore(store, "here"), case_of(wanted)).rows


@EACH_FIELD
def test_a_sweep_goes_on_with_another_permission_and_no_other_field(
    method: str, field: str, store: ObjectStore
) -> None:
    config = base_config(method, "")
    sweep = search(method)
    ResultWriter(SweepStore(store, "old")).write_session(
        session_row(sweep, [], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0)
    )
    now = sweep.model_copy(update={"trial": {**sweep.trial, field: another(config, field)}})
    if roles()[field].decides is Decides.PERMISSION:
        check_same_sweep(SweepStore(store, "old"), now)
        assert field in now.permissions
    else:
        with pytest.raises(SweepMismatchError, match="trial: "):
            check_same_sweep(SweepStore(store, "old"), now)


def test_the_seed_of_a_teacher_changes_the_bits_of_its_training() -> None:
    sweep = search("zero_shot", teacher_recipe={"full_data_epochs": 1, "batch_size": 16})
    config = base_config("zero_shot", "")
    plain, seeded = (sweep.teacher_config(config.model_copy(update={"teacher_seed": seed})) for seed in (None, 7))
    assert not same_student(plain, seeded)


OTHER_SWEEPS: dict[str, Any] = {
    "name": "another",
    "trial": {"dataset": "digits"},
    "space": "step_ratio",
    "search": {"temperature": {"type": "float", "low": 1, "high": 2}},
    "cases": {"a": {}},
    "scale": 0.5,
    "budget": load_sweep("quickstart", flags={"budget": {"unit": "student_updates", "amount": 9}}).budget,
    "allow_test_selection": True,
    "objective": "test_accuracy",
    "mode": "min",
    "further_objectives": {"training_flops": "min"},
    "constraints": {"training_flops": BoundConfig(at_most=1.0)},
    "warm_start": ["a"],
    "sampler": load_sweep("quickstart", flags={"sampler": {"name": "random"}}).sampler,
    "scheduler": load_sweep("quickstart", flags={"scheduler": {"grace": 0.5}}).scheduler,
    "seed": 3,
    "teacher_recipe": {"full_data_epochs": 3},
    "teachers": {"lenet": "a.pt"},
}


@pytest.mark.parametrize("field", SweepConfig.model_fields)
def test_a_sweep_is_another_one_where_a_field_of_its_identity_differs(field: str) -> None:
    """The other half, fields that give no other id, is in tests/orchestrator/config/test_identity.py."""
    of_identity = field in sweep_fields(SweepConfig, *IDENTITY)
    assert of_identity == (field not in {*RUN_OTHERWISE, "seeds", "only"} or field == "budget")
    if of_identity:
        sweep = load_sweep("quickstart")
        other = sweep.model_copy(update={field: OTHER_SWEEPS[field]})
        assert other.default_sweep_id != sweep.default_sweep_id
        assert other.identity != sweep.identity


def test_a_sweep_made_from_another_keeps_how_and_where_it_runs() -> None:
    assert {"resources", "storage", "data_root", "checkpoint_seconds"} <= set(RUN_FIELDS)
    assert not set(RUN_FIELDS) & set(sweep_fields(SweepConfig, *IDENTITY))


def test_a_field_of_a_sweep_without_a_role_is_refused_at_import() -> None:
    with pytest.raises(TypeError, match="Forgetful.colour has 0 roles; write Annotated"):

        class Forgetful(SweepConfig):
            colour: str = "red"

    with pytest.raises(TypeError, match="Undecided.colour has 2 roles"):

        class Undecided(SweepConfig):
            colour: Annotated[str, SweepRole.OUTPUT, SweepRole.NAME] = "red"

    assert sweep_roles(SweepConfig).keys() == SweepConfig.model_fields.keys()
