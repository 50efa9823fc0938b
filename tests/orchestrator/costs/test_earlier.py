from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from orchestrator.costs.history import Place, is_alike, past_costs
from orchestrator.results import ResultWriter, Row, TrialRecord, read_trials
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.storage import SweepStore
from tests.support.records import record
from tests.support.synthetic import write_search
from trainables.compute.flops import trial_work
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig, config_classes
from trainables.config.fields import roles
from trainables.config.roles import Cost
from trainables.storage.object_store import ObjectStore

PLACE = Place(on_gpu=True, threads=2, gpus=1, node_types={"g6.xlarge"})
ZERO_SHOT = ZeroShotConfig(teacher="wrn-16-2", total_pseudo_batches=1000)
SUPERVISED = SupervisedConfig(teacher="wrn-16-2")
FIELDS = [(config, field) for config in (ZERO_SHOT, SUPERVISED) for field in type(config).model_fields]


def row_of(config: AnyTrialConfig, **changes: Any) -> TrialRecord:
    """A completed trial of this config, on a machine of ``PLACE``."""
    row = {
        **{CONFIG_PREFIX + name: None for model in config_classes() for name in model.model_fields},
        **{CONFIG_PREFIX + name: value for name, value in config.model_dump().items()},
        **{"state": "completed", config.unit: config.budget, "training_seconds": 90.0, "evaluation_seconds": 10.0},
        **{"device": "cuda", "device_name": "NVIDIA L4", "threads": 2, "compiled": False, "node_type": "g6.xlarge"},
        **{"hostname": "some-host", "gpu_seconds": 110.0},
    }
    return record(**row | changes)


def other(value: Any) -> Any:
    """A value that differs, and is on where the first one is."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case None:
            return 7
    return f"{value}-other"


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=lambda part: part if isinstance(part, str) else part.method)
def test_trials_are_alike_only_where_every_field_that_costs_is_equal(config: AnyTrialConfig, field: str) -> None:
    assert is_alike(row_of(config), config, PLACE)
    before, cost = getattr(config, field), roles()[field].cost
    another = row_of(config, **{CONFIG_PREFIX + field: other(before)})
    switched_alike = cost is Cost.SWITCH and bool(before)
    assert is_alike(another, config, PLACE) == (cost in {Cost.NONE, Cost.AMOUNT, Cost.COLUMN} or switched_alike)
    if cost is Cost.SWITCH:
        off = row_of(config, **{CONFIG_PREFIX + field: 0 if before else 0.5})
        assert not is_alike(off, config, PLACE)


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=lambda part: part if isinstance(part, str) else part.method)
def test_a_row_from_before_a_field_had_its_default(config: AnyTrialConfig, field: str) -> None:
    admits_none = type(None) in get_args(type(config).model_fields[field].annotation)
    if admits_none or field in {"method", "teacher", "total_pseudo_batches"}:
        return  # which every version had, or where none says something
    row = row_of(config, **{CONFIG_PREFIX + field: None})
    assert is_alike(row, config, PLACE) == (field != "numerics"), "trials from before numerics computed as exact does"
    assert row.config == config.model_copy(update={"numerics": "exact"} if field == "numerics" else {})


@pytest.mark.parametrize(("config", "field"), FIELDS, ids=lambda part: part if isinstance(part, str) else part.method)
def test_what_is_said_to_cost_nothing_changes_no_operation_and_what_is_counted_does(
    config: AnyTrialConfig, field: str
) -> None:
    if roles()[field].cost not in {Cost.NONE, Cost.AMOUNT}:
        return
    value = 0.5 if field == "iteration_scale" else other(getattr(config, field))
    if field in {"normalisation", "dataset_file"}:
        value = getattr(config, field)
    changed = config.model_copy(update={field: value})
    assert (trial_work(changed) == trial_work(config)) == (roles()[field].cost is Cost.NONE)


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 1},
        {"device": "cpu"},
        {"compiled": True},
        {"node_type": "g5.xlarge"},
        {"state": "failed"},
        {"state": "diverged"},
        {"pseudo_batches": 0},
        {"training_seconds": None},
        {"gpu_seconds": None},
    ],
)
def test_other_machines_threads_and_code_tell_nothing(changes: dict[str, Any]) -> None:
    assert not is_alike(row_of(ZERO_SHOT, **changes), ZERO_SHOT, PLACE)


def test_a_processor_like_this_one_tells_where_no_cluster_is_named() -> None:
    here = Place(on_gpu=False, threads=2, device_name="EPYC")
    row = row_of(ZERO_SHOT, device="cpu", device_name="EPYC", node_type="some-host", compiled=True)
    assert is_alike(row, ZERO_SHOT, here)
    assert not is_alike(replace(row, device_name="Xeon"), ZERO_SHOT, here)
    assert not is_alike(replace(row, device_name=None), ZERO_SHOT, Place(on_gpu=False, threads=2))
    assert not is_alike(replace(row, compiled=False), ZERO_SHOT, here), "a CPU compiles trials of this length"


@pytest.mark.parametrize("planned", [0.25, 0.5, 1, 2])
@pytest.mark.parametrize("had", [0.25, 0.5, 1])
@pytest.mark.parametrize("set_up", [0, 0.3], ids=["at once", "after setting up"])
def test_trials_that_shared_a_gpu_tell_of_such_a_share_alone(planned: float, had: float, set_up: float) -> None:
    row = row_of(ZERO_SHOT, gpu_seconds=100 * (1 + set_up) * had)
    assert is_alike(row, ZERO_SHOT, replace(PLACE, gpus=planned)) == (had == planned)
    assert is_alike(row, ZERO_SHOT, replace(PLACE, gpus=None)), "where a session finds the share, any tells"


def test_machines_of_ones_own_are_known_by_their_hosts_names() -> None:
    listed = Place(on_gpu=True, threads=2, gpus=1, node_types={"192.0.2.10"}, own_machines=True)
    row = row_of(ZERO_SHOT, node_type="some-host")
    assert is_alike(row, ZERO_SHOT, listed)
    assert not is_alike(row, ZERO_SHOT, replace(listed, own_machines=False))
    assert not is_alike(row_of(ZERO_SHOT), ZERO_SHOT, listed), "a machine of a cloud is known by its type"
    assert not is_alike(replace(row, node_type=None, hostname=None), ZERO_SHOT, listed)


def rewritten(store: ObjectStore, changes: list[Row]) -> None:
    """The trials of the sweep ``earlier`` with these columns."""
    for row, changed in zip(read_trials(store, "earlier").to_pylist(), changes, strict=True):
        ResultWriter(SweepStore(store, "earlier")).write_trial(
            {k: v for k, v in (row | changed).items() if k != "sweep_id"}
        )


def on_g6(config: AnyTrialConfig, done: int) -> Row:
    reports = done // config.report_interval
    return {
        **{"device": "cuda", "device_name": "NVIDIA L4", "threads": 1, "compiled": False, "node_type": "g6.xlarge"},
        **{"pseudo_batches": done, "training_seconds": 0.9 * done, "evaluation_seconds": 2.0 * reports},
        **{CONFIG_PREFIX + "student_steps": 10, CONFIG_PREFIX + "generator_steps": 1},
        **{"gpu_seconds": 0.9 * done + 2.0 * reports, "cost_usd": 0.01 * done},
    }


def test_training_goes_with_the_work_and_measuring_with_the_reports(store: ObjectStore) -> None:
    config = write_search(store, "earlier", trials=3).configs()[0]
    place = Place(on_gpu=True, threads=1, node_types={"g6.xlarge"})
    rewritten(store, [on_g6(config, done) for done in (140, 70, 40)])
    found = past_costs(store, config, place)
    assert found
    assert (found.trials, found.machines) == (3, ["g6.xlarge"])
    whole = 140 * 0.9 + 14 * 2.0
    assert found.seconds == pytest.approx((whole, whole))
    assert found.gpu_hours == pytest.approx((whole / 3600, whole / 3600))
    assert found.usd == pytest.approx((1.4, 1.4))
    seldom = config.model_copy(update={"evaluation_interval": 140})
    assert (past_costs(store, seldom, place) or found).seconds[0] == pytest.approx(140 * 0.9 + 2.0)
    assert past_costs(store, config.model_copy(update={"student": "wrn-16-1"}), place) is None


def test_machines_of_two_kinds_are_a_span_of_their_medians(store: ObjectStore) -> None:
    config = write_search(store, "earlier", trials=3).configs()[0]
    slow = on_g6(config, 140) | {"node_type": "g5.xlarge", "training_seconds": 1000.0, "evaluation_seconds": 0.0}
    rewritten(store, [on_g6(config, 140), slow, slow | {"training_seconds": 2000.0}])
    found = past_costs(store, config, Place(on_gpu=True, threads=1, node_types={"g6.xlarge", "g5.xlarge"}))
    assert found
    assert found.seconds == pytest.approx((140 * 0.9 + 14 * 2.0, 1500))


def test_settings_that_took_400_seconds_are_not_foretold_1600(store: ObjectStore) -> None:
    config = write_search(store, "earlier", trials=3).configs()[0]
    compiled = config.model_copy(update={"compilation": "always"})
    here = {
        "device": "cpu",
        "device_name": "EPYC",
        "node_type": "here",
        "pseudo_batches": 140,
        "evaluation_seconds": 0.0,
    }
    same = {CONFIG_PREFIX + "student_steps": 10, CONFIG_PREFIX + "generator_steps": 1}
    times: list[Row] = [
        {"compiled": True, "threads": 2, "training_seconds": 400.0},
        {"compiled": False, "threads": 2, "training_seconds": 1600.0},
        {"compiled": True, "threads": 1, "training_seconds": 3200.0, "device_name": "other", "node_type": "there"},
    ]
    rewritten(store, [{**here, **same, **row} for row in times])
    found = past_costs(store, compiled, Place(on_gpu=False, threads=2, device_name="EPYC"))
    assert found
    assert (found.trials, found.seconds) == (1, (400, 400))
