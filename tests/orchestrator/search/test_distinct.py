"""A search trains no settings twice, and ends where there are no more."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from orchestrator.config import SweepConfig
from orchestrator.results import TrialState
from orchestrator.run.calibration import with_known_budget
from orchestrator.run.inline import InlineBackend
from orchestrator.search.distinct import DistinctSampler, TriedSettings
from orchestrator.search.study import SweepStudy, open_study
from orchestrator.search.workload import Workload
from orchestrator.storage import SweepStore
from search_spaces import SearchSpace, resolve_space
from tests.support.sampler_blocks import sampler_block
from tests.support.searches import new_study, next_trial
from tests.support.small_searches import TWO, run, search_on, sweep_of
from trainables.storage.object_store import ObjectStore

TWELVE = {
    "student_steps": {"type": "int", "low": 9, "high": 12},
    "batch_size": {"type": "categorical", "choices": [32, 64, 128]},
    "temperature": {"type": "float", "low": 2, "high": 2},
}
SAMPLERS = ["tpe", "gp", "cmaes", "nsgaii", "qmc", "random"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("space", "size"), [(TWO, 2), (TWELVE, 12)], ids=["two", "twelve"])
def test_a_space_that_is_used_up_ends_the_sweep(space: Any, size: int, sampler: str) -> None:
    study = new_study()
    sweep = sweep_of(space, num_trials=40, sampler=sampler_block(sampler))
    search = search_on(study, sweep, first={"student_steps": 10})
    asked = run(search)
    assert len(asked) == len(set(asked)) == size
    assert search.suggest() is None and not search.running
    # What was proposed and not taken is not in the study.
    assert [trial.state for trial in study.trials] == [OptunaState.COMPLETE] * size
    assert [trial.params["student_steps"] for trial in study.trials] == [settings[0] for settings in asked]
    assert {tuple(trial.params) for trial in study.trials} == {tuple(space)}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_rest_of_a_space_comes_in_the_same_order_after_an_interruption(sampler: str, store: ObjectStore) -> None:
    sweep = sweep_of(TWELVE, num_trials=12, sampler=sampler_block(sampler))
    whole = run(search_on(open_study(SweepStore(store, "whole"), modes=["max"]), sweep))
    parts: list[tuple[Any, ...]] = []
    while len(parts) < 12:
        parts += run(search_on(open_study(SweepStore(store, "parts"), modes=["max"]), sweep), trials=5)
    assert parts == whole
    other = run(search_on(new_study(), sweep_of(TWELVE, num_trials=12, seed=1)))
    assert other != whole and set(other) == set(whole)


def test_what_runs_is_not_proposed_beside_it() -> None:
    search = search_on(new_study(), sweep_of(TWO, num_trials=6))
    both = [next_trial(search) for _ in range(2)]
    assert {found["student_steps"] for found in both if found} == {10, 20}
    assert search.suggest() is None  # one of the two may have to be run again
    for found in both:
        assert isinstance(found, dict)
        search.tell(found["trial_id"], TrialState.STOPPED_EARLY, {"validation_accuracy": 0.5})
    assert search.suggest() is None and not search.running


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize(
    ("state", "count"), [(TrialState.FAILED, 24), (TrialState.DIVERGED, 12), (TrialState.STOPPED_EARLY, 12)]
)
def test_what_failed_is_tried_once_more_and_what_diverged_would_diverge_again(
    state: TrialState, count: int, sampler: str
) -> None:
    study, sweep = new_study(), sweep_of(TWELVE, num_trials=50, sampler=sampler_block(sampler))
    asked = run(search_on(study, sweep), state=state)
    assert len(asked) == count and len(set(asked[:12])) == len(set(asked[12:] or asked)) == 12
    workload = Workload(
        sweep=sweep, study=study, completed_elsewhere={}, failed=frozenset(), space=resolve_space(TWELVE)
    )
    assert (workload.total, workload.finished) == (count, True)
    assert workload.used_up == "all 12 settings of the space have been tried; 50 trials were asked for"


def test_one_setting_that_fails_does_not_take_the_rest_of_the_trials() -> None:
    study, sweep = new_study(), sweep_of(TWO, num_trials=50)
    asked: list[int] = []
    while found := next_trial(search_on(study, sweep)):  # each in a session of its own
        search = search_on(study, sweep)
        assert next_trial(search) == found
        asked.append(found["student_steps"])
        state = TrialState.FAILED if asked[-1] == 20 else TrialState.COMPLETED
        search.tell(found["trial_id"], state, {"validation_accuracy": 0.5})
    assert sorted(asked) == [10, 20, 20] and asked[-1] == 20


def test_what_failed_and_runs_again_is_not_begun_beside_itself() -> None:
    search = search_on(new_study(), sweep_of(TWO, num_trials=50))
    run(search, trials=2, state=TrialState.FAILED)
    both = [next_trial(search) for _ in range(2)]
    assert {found["student_steps"] for found in both if found} == {10, 20}
    assert search.suggest() is None


def test_a_grid_goes_on_behind_the_published_settings() -> None:
    grid = {"name": "grid", "grid": {"student_steps": [9, 10, 12], "batch_size": [128, 64]}}
    space = {name: TWELVE[name] for name in ("student_steps", "batch_size")}
    study = new_study()
    search = search_on(
        study, sweep_of(space, num_trials=7, sampler=grid), first={"student_steps": 10, "batch_size": 128}
    )
    asked = [settings[:2] for settings in run(search)]
    assert asked == [(10, 128), (9, 128), (9, 64), (10, 64), (12, 128), (12, 64)]
    assert search.suggest() is None and not search.running


def test_fields_that_do_not_go_together_are_no_settings() -> None:
    space = {
        "latents": {"type": "categorical", "choices": ["shared", "fresh"]},
        "student_batch": {"type": "categorical", "choices": ["updated", "scored"]},
    }
    sweep = sweep_of(space, num_trials=9)
    tried = TriedSettings(sweep=sweep, space=resolve_space(space), study=new_study())
    assert [draft.params for draft in tried.untried()] == [
        {"latents": "shared", "student_batch": "updated"},
        {"latents": "shared", "student_batch": "scored"},
        {"latents": "fresh", "student_batch": "updated"},
    ]
    assert (tried.left(at_most=9), tried.left(at_most=2)) == (3, 2)


def test_what_is_fixed_on_the_command_line_is_no_part_of_the_space() -> None:
    study = new_study()
    sweep = sweep_of(TWELVE, num_trials=9, trial={"dataset": "digits", "student_steps": 11})
    assert sorted(run(search_on(study, sweep))) == [(11, size, 2.0) for size in (32, 64, 128)]


def test_without_a_space_there_is_one_trial() -> None:
    assert len(run(search_on(new_study(), sweep_of({}, num_trials=5)))) == 1


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_function_may_have_no_more_settings_and_then_repeats_some_and_says_so_once(sampler: str) -> None:
    def space(trial: Any) -> dict[str, Any]:
        found = {"batch_size": trial.suggest_categorical("batch_size", [32, 64])}
        if found["batch_size"] == 32:
            found["student_steps"] = trial.suggest_int("student_steps", 9, 10)
        return found

    said: list[str] = []
    study = new_study()
    sweep = sweep_of({}, num_trials=6, sampler=sampler_block(sampler))
    asked = run(search_on(study, sweep, space, warn=said.append))
    assert len(asked) == 6 and len(set(asked[:3])) == 3 == len(set(asked))
    [line] = said
    assert line.startswith("t0003 repeats the settings of t000")
    # A field that was not asked for in the end is not left over from a proposal that was not taken.
    assert all(("student_steps" in trial.params) == (trial.params["batch_size"] == 32) for trial in study.trials)


@pytest.mark.parametrize("absent", [{}, {"cuda_graphs": None, "allow_slow_precision": None}], ids=["missing", "null"])
def test_settings_that_an_earlier_version_kept_have_the_defaults_of_later_fields(absent: dict[str, None]) -> None:
    study, sweep = new_study(), sweep_of(TWO, num_trials=2)
    kept = sweep.trial_config({"student_steps": 20})
    before = kept.model_dump(exclude={"cuda_graphs"}) | absent
    study.ask().set_user_attr("config", json.dumps(before))
    tried = TriedSettings(sweep=sweep, space=resolve_space(TWO), study=study)
    assert tried.known() == {kept: 0}
    assert [draft.params for draft in tried.untried()] == [{"student_steps": 10}]


def test_sweeps_that_repeat_on_purpose_are_left_alone() -> None:
    study = new_study()
    population = {"name": "pbt", "population": 2, "generations": 2}
    values = {"name": "a", "trial": {"dataset": "digits"}, "space": TWO, "scheduler": population}
    search = search_on(study, SweepConfig.model_validate(values))
    assert len(run(search)) == 4
    assert not isinstance(study.sampler, DistinctSampler)


def test_the_agenda_knows_how_many_trials_a_space_is_good_for(store: ObjectStore) -> None:
    study, sweep = new_study(), sweep_of(TWO, num_trials=6)

    def workload() -> Workload:
        return Workload(sweep=sweep, study=study, completed_elsewhere={}, failed=frozenset(), space=resolve_space(TWO))

    assert (workload().total, workload().finished) == (2, False)
    assert "all 2 settings of the space are to be tried; 6 trials were asked for" in workload().sentence(kept_in="here")
    run(search_on(study, sweep))
    assert (workload().total, workload().ended, workload().finished) == (2, 2, True)
    assert workload().used_up == "all 2 settings of the space have been tried; 6 trials were asked for"
    assert workload().used_up in workload().sentence(kept_in="here")
    whole = sweep_of({"temperature": {"type": "float", "low": 1, "high": 2}}, num_trials=6)
    other = Workload(
        sweep=whole, study=new_study(), completed_elsewhere={}, failed=frozenset(), space=resolve_space(whole.space)
    )
    assert (other.total, other.used_up) == (6, "")


def test_trials_of_so_many_seconds_use_a_space_up_too(store: ObjectStore) -> None:
    study, space = new_study(), resolve_space(TWO)
    sweep = sweep_of(TWO, num_trials=6, budget={"unit": "seconds", "amount": 20})
    workload = Workload(sweep=sweep, study=study, completed_elsewhere={}, failed=frozenset(), space=space)
    settled = with_known_budget(sweep, InlineBackend(), speed=1e9, sharing=None, say=lambda line: None)
    assert len(run(search_on(study, settled, space))) == 2
    assert not workload.finished, "settings are the trials' only with the budget that was settled"
    workload.sweep = settled
    assert (workload.total, workload.finished) == (2, True)
    assert workload.used_up


def endless(trial: Any) -> dict[str, Any]:
    """Settings of which no two are ever equal."""
    return {
        "temperature": trial.suggest_float("temperature", 0.5, 8, log=True),
        "student_steps": trial.suggest_int("student_steps", 1, 20),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
    }


def conditional(trial: Any) -> dict[str, Any]:
    found = endless(trial)
    if found["student_steps"] > 10:
        found["attention_weight"] = trial.suggest_float("attention_weight", 1, 1000)
    return found


def in_flight(study: SweepStudy, sweep: SweepConfig, space: SearchSpace) -> list[optuna.trial.FrozenTrial]:
    """The trials of a sweep of which three run at a time and end in all ways."""
    search = search_on(study, sweep, space, first={"student_steps": 10})
    running: list[dict[str, Any]] = []
    ends: list[TrialState] = [
        TrialState.COMPLETED,
        TrialState.COMPLETED,
        TrialState.STOPPED_EARLY,
        TrialState.COMPLETED,
        TrialState.FAILED,
        TrialState.DIVERGED,
    ]
    while len(running) < 3 and (found := next_trial(search)):
        running.append(found)
        if len(running) == 3:
            ended = running.pop(int(found["trial_id"][1:]) % 3)
            value = abs(ended["temperature"] - 3) + 0.01 * ended["student_steps"]
            search.report(ended["trial_id"], 10, value)
            report = {"validation_accuracy": value, "training_flops": ended["student_steps"] * ended["batch_size"]}
            state = ends[int(ended["trial_id"][1:]) % len(ends)]
            search.tell(ended["trial_id"], state, report, share=0.5 if state == "stopped_early" else 1)
    return study.trials


@pytest.mark.parametrize("space", [endless, conditional])
@pytest.mark.parametrize("further", [{}, {"training_flops": "min"}], ids=["one objective", "two objectives"])
@pytest.mark.parametrize(
    ("sampler", "arguments"),
    [
        ("random", {}),
        ("qmc", {}),
        ("cmaes", {"popsize": 4}),
        ("nsgaii", {"population_size": 5}),
        ("tpe", {}),
        ("tpe", {"multivariate": True}),
        ("tpe", {"multivariate": True, "group": True}),
        ("tpe", {"constant_liar": True}),
        ("tpe", {"multivariate": True, "group": True, "constant_liar": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "default",
)
def test_where_nothing_repeats_proposals_are_those_of_the_sampler_itself(
    sampler: str,
    arguments: dict[str, Any],
    further: dict[str, str],
    space: SearchSpace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sampler == "cmaes":
        further = {}  # it has one objective
    block = sampler_block(sampler, startup_trials=4, arguments=arguments)
    sweep = sweep_of({}, num_trials=20, sampler=block, further_objectives=further)
    studies = [new_study("max", *further.values()) for _ in range(2)]
    ours = in_flight(studies[0], sweep, space)
    monkeypatch.setattr(TriedSettings, "applies", False)
    plain = in_flight(studies[1], sweep, space)
    assert [isinstance(study.sampler, DistinctSampler) for study in studies] == [True, False]
    given = [trial.params for trial in plain]
    until = next((n for n, params in enumerate(given) if params in given[:n]), 20)
    assert until == 20 if sampler != "nsgaii" else until > 8  # whose children may equal a parent, after 5 without any
    for one, other in zip(ours[:until], plain[:until], strict=True):
        assert (one.params, one.distributions) == (other.params, other.distributions)
        assert one.system_attrs == other.system_attrs
    notes = [study._storage.get_study_system_attrs(study._study_id) for study in studies]
    assert notes[0] == notes[1] or until < 20
