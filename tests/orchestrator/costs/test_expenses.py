from __future__ import annotations

from typing import Any

import pytest

from cluster.prices import Machine, Price, PriceList
from orchestrator.costs.ledger import CostAmount, CostLedger
from tests.support.records import record
from tests.support.simulated import SimulatedClock
from trainables.trial_result import Allocation

MACHINES = {
    "spot": Machine(name="small", spot=True, cpus=4, gpus=1),
    "dear": Machine(name="large", spot=False, cpus=16, gpus=4),
    "mine": Machine(name="box", spot=False, cpus=8, gpus=2),
}
PRICES = PriceList(prices={"small": Price(spot=0.36, on_demand=3.6), "large": Price(on_demand=7.2)})


def ledger(clock: SimulatedClock) -> CostLedger:
    return CostLedger(prices=PRICES, machine=MACHINES.get, clock=clock)


def allocation(node_id: str, seconds: float, *, gpus: float = 1) -> Allocation:
    return Allocation(node_id=node_id, cpus=2, gpus=gpus, seconds=seconds)


def amounts(spent: CostAmount | None) -> tuple[Any, Any]:
    assert spent
    return spent.gpu_seconds, spent.usd


def test_a_trial_costs_its_share_of_the_machine_that_runs_it() -> None:
    found = ledger(SimulatedClock())
    found.started("t0000")
    columns = found.reported("t0000", allocation("spot", 1000), share=0.5)
    assert columns == {"node_type": "small", "gpu_seconds": 1000, "cost_usd": pytest.approx(0.1)}
    found.started("t0001")
    columns = found.reported("t0001", allocation("dear", 1000, gpus=0.5), share=0.5)
    assert columns == {"node_type": "large", "gpu_seconds": 500, "cost_usd": pytest.approx(0.25)}
    found.started("t0002")
    columns = found.reported("t0002", allocation("dear", 1000, gpus=0), share=0.5)
    assert columns == {"node_type": "large", "gpu_seconds": 0, "cost_usd": pytest.approx(0.25)}  # 2 of 16 cores


def test_what_goes_on_elsewhere_adds_up_lost_work_included() -> None:
    clock = SimulatedClock()
    found = ledger(clock)
    found.started("t0000")
    clock.seconds = 1000
    found.reported("t0000", allocation("spot", 1000), share=0.5)
    clock.seconds = 1500  # lost half way to its next report
    found.lost("t0000")
    clock.seconds = 2000  # it waits for a machine, which costs nothing
    found.started("t0000")
    clock.seconds = 2100  # and that one is lost before it has said a word
    found.lost("t0000")
    found.started("t0000")
    clock.seconds = 2500
    found.reported("t0000", allocation("dear", 400), share=1.0)
    columns = found.ended("t0000")
    assert columns["node_type"] == "large"
    assert columns["gpu_seconds"] == 1500 + 100 + 400
    assert columns["cost_usd"] == pytest.approx(1500 * 0.36 / 3600 + 500 * 7.2 / 4 / 3600)
    assert found.total == CostAmount(gpu_seconds=2000, usd=columns["cost_usd"])


def test_where_a_machine_has_no_price_the_cost_is_not_known() -> None:
    found = ledger(SimulatedClock())
    found.started("t0000")
    assert found.reported("t0000", allocation("mine", 100), share=0.5) == {
        "node_type": "box",
        "gpu_seconds": 100,
        "cost_usd": None,
    }
    assert found.unpriced == {"box (on demand)"}
    found.started("t0001")
    assert found.ended("t0001") == {"node_type": None, "gpu_seconds": 0.0, "cost_usd": None}, (
        "it never said where it ran"
    )


def test_what_is_foreseen_follows_from_how_far_trials_have_come() -> None:
    clock = SimulatedClock()
    found = ledger(clock)
    assert found.mean_per_trial is None
    for trial in ("t0000", "t0001"):
        found.started(trial)
    assert found.mean_per_trial is None
    found.reported("t0000", allocation("spot", 100), share=0.25)
    assert amounts(found.mean_per_trial) == (400, pytest.approx(0.04))
    assert found.projected({"t0000", "t0001"}).gpu_seconds == 300 + 400
    clock.seconds = 50
    assert found.total.gpu_seconds == 150
    found.ended("t0000")
    assert amounts(found.mean_per_trial) == (100, pytest.approx(0.01))


def test_earlier_sessions_count() -> None:
    found = ledger(SimulatedClock())
    reports = [
        {"trial_id": "t0000", "gpu_seconds": 50.0, "cost_usd": 0.1},
        {"trial_id": "t0001", "gpu_seconds": 30.0, "cost_usd": 0.3},  # before it was lost
        {"trial_id": "t0001", "gpu_seconds": 20.0, "cost_usd": 0.2},
    ]
    found.recall([record("t0000", gpu_seconds=60.0, cost_usd=0.15)], reports)
    assert amounts(found.total) == (90, pytest.approx(0.45))
    found.started("t0001")
    assert found.reported("t0001", allocation("spot", 10), share=0.9)["gpu_seconds"] == 40
    found.recall([record("t0002", gpu_seconds=None, cost_usd=None)], [])
    assert found.total.usd is None, "of a version that did not count"
