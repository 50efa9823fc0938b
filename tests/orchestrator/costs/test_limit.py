from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.prices import Machine, Price, PriceList
from orchestrator.config.budget import BudgetConfig
from orchestrator.costs.ledger import CostLedger
from orchestrator.costs.limit import SpendingLimit, spent_in_words
from orchestrator.results import TrialState
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.searches import next_trial
from tests.support.sessions import SPACE, SWEEP
from tests.support.simulated import SimulatedClock
from trainables.storage.object_store import ObjectStore
from trainables.trial_result import Allocation

HOUR = 3600


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def limit(said: list[str]) -> Callable[..., SpendingLimit]:
    def make(**budget: float) -> SpendingLimit:
        ledger = CostLedger(
            prices=PriceList(prices={"box": Price(on_demand=1)}),
            machine={"a": Machine(name="box", spot=False, cpus=1, gpus=1)}.get,
            clock=SimulatedClock(),
        )
        return SpendingLimit(budget=BudgetConfig.model_validate(budget), ledger=ledger, say=said.append)

    return make


def run(limit: SpendingLimit, key: str, hours: float, share: float, node: str = "a") -> None:
    limit.ledger.started(key)
    limit.ledger.reported(key, Allocation(node_id=node, cpus=1, gpus=1, seconds=hours * HOUR), share=share)


@pytest.mark.parametrize("unit", ["usd", "gpu_hours"])
def test_the_first_trial_runs_alone_until_it_tells_what_a_trial_costs(
    unit: str, limit: Callable[..., SpendingLimit], said: list[str]
) -> None:
    ours = limit(**{unit: 4})
    assert ours.allows_another([])
    assert not ours.allows_another(["t0000"])
    run(ours, "t0000", 0.1, 0.1)  # an hour in all, so one each for three others
    assert ours.allows_another(["t0000"])
    assert ours.allows_another(["t0000", "t0001", "t0002"])
    assert said == []
    assert not ours.allows_another(["t0000", "t0001", "t0002", "t0003"])
    assert not ours.exhausted, "those that run may be stopped early"
    words = "USD" if unit == "usd" else "GPU hours"
    assert said == [
        f"budget reached: 0.1 of 4 {words} spent, about 3.9 {words} expected for the running trials, about 1 {words} for "
        "another; none is started"
    ]


def test_trials_that_are_stopped_early_let_others_start(limit: Callable[..., SpendingLimit], said: list[str]) -> None:
    ours = limit(usd=2.5)
    for trial in ("t0000", "t0001"):
        run(ours, trial, 0.5, 0.5)
    assert not ours.allows_another(["t0000", "t0001"])
    ours.ledger.ended("t0000")
    assert ours.allows_another(["t0001"])
    ours.ledger.ended("t0001")
    for trial in ("t0002", "t0003"):
        run(ours, trial, 0.6, 1)
        ours.ledger.ended(trial)
    assert not ours.allows_another([])
    assert ours.exhausted
    assert ours.spent == "2.2 of 2.5 USD spent"
    assert len(said) == 1, "it is said once"


def test_a_cost_that_is_not_known_is_too_much(limit: Callable[..., SpendingLimit], said: list[str]) -> None:
    ours = limit(usd=10, gpu_hours=10)
    run(ours, "t0000", 0.5, 0.5, node="unknown")
    assert not ours.allows_another(["t0000"])
    assert "an unknown number of 10 USD and 0.5 of 10 GPU hours spent" in said[0]


def test_without_a_limit_what_was_spent_is_said_as_far_as_it_is_known(limit: Callable[..., SpendingLimit]) -> None:
    ours = limit(usd=10)
    free = SpendingLimit(budget=None, ledger=ours.ledger, say=pytest.fail)
    assert free.allows_another([f"t{number:04d}" for number in range(100)])
    assert spent_in_words(CostLedger(), None) == ""
    run(ours, "t0000", 0.5, 0.5)
    assert spent_in_words(ours.ledger, None) == "0.5 GPU hours, 0.50 USD"
    assert spent_in_words(ours.ledger, ours.budget) == "0.5 of 10 USD spent"


def test_the_search_asks_before_each_trial_and_says_when_it_is_over(store: ObjectStore) -> None:
    asked: list[list[str]] = []
    answers = [True, True, False, False, False]

    def may_start(running: Any) -> bool:
        asked.append(list(running))
        return answers.pop(0)

    study = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    search = SweepSearch(study, SWEEP, resolve_space(SPACE), sweep_id="sweep-a", may_start=may_start)
    assert search.suggest() and search.suggest()
    assert search.suggest() is None
    search.tell("t0000", TrialState.FAILED, {})
    assert search.suggest() is None
    search.tell("t0001", TrialState.FAILED, {})
    assert search.suggest() is None and not search.running
    assert asked == [[], ["t0000"], ["t0000", "t0001"], ["t0001"], []]
    more = SweepSearch(study, SWEEP, resolve_space(SPACE), sweep_id="sweep-a")
    third = next_trial(more)
    assert isinstance(third, dict) and third["trial_id"] == "t0002", "a larger budget goes on"
