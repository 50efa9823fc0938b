from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from orchestrator.config import SweepConfig
from orchestrator.results import TrialState
from orchestrator.schedulers.population import explored
from orchestrator.search.space import infer_domains
from orchestrator.search.study import SweepStudy, open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.searches import suggest
from trainables.config import inherited_fields
from trainables.storage.object_store import ObjectStore

SPACE = {
    "student_steps": {"type": "int", "low": 2, "high": 20},
    "student_lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "latents": {"type": "categorical", "choices": ["shared", "fresh"]},
}
SWEEP = SweepConfig.model_validate(
    {
        "name": "test",
        "trial": {"dataset": "digits", "total_pseudo_batches": 90},
        "space": SPACE,
        "scheduler": {"name": "pbt", "population": 4, "generations": 3},
    }
)


def search_on(study: SweepStudy) -> SweepSearch:
    return SweepSearch(study, SWEEP, resolve_space(SPACE), sweep_id="s", first={"student_steps": 10})


def end(search: SweepSearch, suggestion: dict[str, Any], value: float, *, failed: bool = False) -> None:
    done = suggestion["total_pseudo_batches"]
    search.report(suggestion["trial_id"], done, value)
    state: TrialState = (
        TrialState.FAILED if failed else TrialState.COMPLETED if done == 90 else TrialState.STOPPED_EARLY
    )
    search.tell(suggestion["trial_id"], state, {"validation_accuracy": value})


def settings(suggestion: dict[str, Any]) -> dict[str, Any]:
    return {field: suggestion[field] for field in SPACE}


def test_the_number_of_trials_follows_and_each_has_its_part_of_the_budget(store: ObjectStore) -> None:
    assert SWEEP.num_trials == 12
    search = search_on(open_study(SweepStore(store, "s"), modes=["max"]))
    parts = []
    for _ in range(3):
        generation = [suggest(search) for _ in range(4)]
        assert search.suggest() is None  # the next one needs all of these
        for member, suggestion in enumerate(generation):
            end(search, suggestion, 0.1 * member)
        parts.append({s["total_pseudo_batches"] for s in generation})
        assert {s["learning_rate_horizon"] for s in generation} == {90}
        assert {s["evaluation_interval"] for s in generation} == {SWEEP.configs()[0].report_interval}
    assert parts == [{30}, {60}, {90}]
    assert search.suggest() is None and not search.running


def test_the_worst_take_over_from_the_best_and_explore(store: ObjectStore) -> None:
    search = search_on(open_study(SweepStore(store, "s"), modes=["max"]))
    first = [suggest(search) for _ in range(4)]
    assert first[0]["student_steps"] == 10  # the published settings are in the first generation
    for suggestion, value in zip(first, (0.5, 0.9, 0.1, 0.6), strict=True):
        end(search, suggestion, value)
    second = [suggest(search) for _ in range(4)]
    assert [s["initial_trial"] for s in second] == ["t0000", "t0001", "t0001", "t0003"]
    for before, after in zip(first, second, strict=True):
        if after["trial_id"] != "t0006":
            assert settings(after) == settings(before)
    assert settings(second[2]) != settings(first[1])


def test_a_failed_member_is_replaced_and_a_failed_generation_begins_anew(store: ObjectStore) -> None:
    search = search_on(open_study(SweepStore(store, "s"), modes=["max"]))
    for number, suggestion in enumerate([suggest(search) for _ in range(4)]):
        end(search, suggestion, 0.1 * number, failed=number == 3)
    second = [suggest(search) for _ in range(4)]
    assert [s["initial_trial"] for s in second] == ["t0002", "t0001", "t0002", "t0002"]
    for suggestion in second:
        end(search, suggestion, 0.5, failed=True)
    third = suggest(search)
    assert third["initial_trial"] is None
    assert third["total_pseudo_batches"] == 90


def test_what_comes_next_does_not_depend_on_order_or_interruptions(store: ObjectStore) -> None:
    def run(name: str, order: list[int], *, interrupted: bool) -> list[dict[str, Any]]:
        found = []
        search = search_on(open_study(SweepStore(store, name), modes=["max"]))
        for generation in range(3):
            if interrupted:
                search = search_on(open_study(SweepStore(store, name), modes=["max"]))
            suggestions = [suggest(search) for _ in range(4)]
            if interrupted:  # in mid-generation
                search = search_on(open_study(SweepStore(store, name), modes=["max"]))
                assert [suggest(search) for _ in range(4)] == suggestions
            for member in order:
                end(search, suggestions[member], ((member * 7 + generation) % 4) / 10)
            found += suggestions
        return found

    assert run("one", [0, 1, 2, 3], interrupted=False) == run("other", [3, 1, 0, 2], interrupted=True)


def test_what_cannot_change_in_mid_training_cannot_be_searched() -> None:
    space = resolve_space({"generator_width": {"type": "categorical", "choices": [32, 64]}})
    with pytest.raises(ValueError, match="generator_width cannot vary"):
        infer_domains(space, SWEEP, forbidden=inherited_fields())


def test_exploring_stays_inside_and_moves_whole_numbers() -> None:
    assert explored(10, IntDistribution(1, 20), 1.25) == 13
    assert explored(2, IntDistribution(1, 20), 0.8) == 1
    assert explored(1, IntDistribution(1, 20), 0.8) == 1
    assert explored(19, IntDistribution(1, 20), 1.25) == 20
    assert explored(1e-2, FloatDistribution(1e-4, 1e-2, log=True), 1.25) == 1e-2
    assert explored(1e-3, FloatDistribution(1e-4, 1e-2, log=True), 0.8) == pytest.approx(8e-4)
