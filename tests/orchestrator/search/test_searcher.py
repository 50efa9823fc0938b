from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import TrialState
from orchestrator.samplers.random import Random
from orchestrator.search.space import infer_domains, published_settings
from orchestrator.search.study import SweepStudy, ended_trials, open_study, past_reports
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from search_spaces.fields import PinnedTrial
from tests.support.sampler_blocks import sampler_block
from tests.support.searches import new_study, suggest
from trainables.config import ZeroShotConfig, shared_fields
from trainables.storage.object_store import ObjectStore

SWEEP = SweepConfig(name="test", trial={"dataset": "digits"}, space="step_ratio_temperature", num_trials=4)


RANDOM = Random()


def study_in(store: ObjectStore) -> SweepStudy:
    return open_study(SweepStore(store, "sweep-a"), modes=["max"])


def search_on(study: SweepStudy, **changes: Any) -> SweepSearch:
    sweep = SweepConfig.model_validate(SWEEP.model_dump() | changes)
    space = resolve_space(sweep.space)
    first = published_settings(infer_domains(space, sweep, forbidden=shared_fields()), ZeroShotConfig)
    return SweepSearch(study, sweep, space, sweep_id="sweep-a", first=first)


def test_the_published_settings_are_the_first_trial(store: ObjectStore) -> None:
    first = suggest(search_on(study_in(store)))
    assert (first.pop("trial_id"), first.pop("case")) == ("t0000", None)
    assert ZeroShotConfig.model_validate(first) == ZeroShotConfig(dataset="digits")


def test_published_values_outside_of_a_domain_are_not_forced_into_it() -> None:
    domains = {
        "student_steps": optuna.distributions.IntDistribution(1, 3),
        "temperature": optuna.distributions.FloatDistribution(0.5, 8),
        "batch_size": optuna.distributions.CategoricalDistribution([32, 64]),
        "generator_steps": optuna.distributions.CategoricalDistribution([1, 2]),
    }
    assert published_settings(domains, ZeroShotConfig) == {"temperature": 1.0, "generator_steps": 1}


def test_a_suggestion_is_a_whole_config_and_the_number_of_trials_is_kept(store: ObjectStore) -> None:
    search = search_on(study_in(store))
    suggestions = [suggest(search) for _ in range(4)]
    assert [s["trial_id"] for s in suggestions] == ["t0000", "t0001", "t0002", "t0003"]
    assert all(s.keys() == {"trial_id", "case", *ZeroShotConfig.model_fields} for s in suggestions)
    for suggestion in suggestions:
        assert search.suggest() is None  # one that runs may have to be run again
        search.tell(suggestion["trial_id"], TrialState.COMPLETED, {"validation_accuracy": 0.5})
    assert search.suggest() is None and not search.running


def test_ends_are_told_as_they_are(store: ObjectStore) -> None:
    study = study_in(store)
    search = search_on(study)
    for _ in range(4):
        suggest(search)
    for key in ("t0000", "t0001"):
        search.report(key, 10, 0.5)
        search.report(key, 10, 0.7)  # again after a recovery: the first counts
    search.report("t0000", 20, 0.6)
    search.tell("t0000", TrialState.COMPLETED, {"validation_accuracy": 0.6})
    search.tell("t0001", TrialState.STOPPED_EARLY, {"validation_accuracy": 0.5})
    search.tell("t0002", TrialState.DIVERGED, {"validation_accuracy": float("nan")})
    search.tell("t0003", TrialState.FAILED, {})
    trials = study_in(store).trials
    assert [trial.state for trial in trials] == [
        OptunaState.COMPLETE,
        OptunaState.PRUNED,
        OptunaState.FAIL,
        OptunaState.FAIL,
    ]
    assert trials[0].value == 0.6
    assert trials[0].intermediate_values == {10: 0.5, 20: 0.6}
    assert trials[1].intermediate_values == {10: 0.5}
    assert len(ended_trials(study)) == 4
    assert sorted(past_reports(study)) == [("t0000", 10, 0.5), ("t0000", 20, 0.6), ("t0001", 10, 0.5)]


def test_a_trial_outside_of_the_constraints_is_told_to_the_sampler(store: ObjectStore) -> None:
    sweep = {"constraints": {"training_flops": {"at_most": 100}, "validation_accuracy": {"at_least": 0.5}}}
    search = search_on(study_in(store), **sweep)
    for _ in range(3):
        suggest(search)
    search.tell("t0000", TrialState.COMPLETED, {"validation_accuracy": 0.6, "training_flops": 90})
    search.tell("t0001", TrialState.COMPLETED, {"validation_accuracy": 0.4, "training_flops": 130})
    search.tell("t0002", TrialState.COMPLETED, {"validation_accuracy": 0.9, "training_flops": None})
    first, second, third = (trial.constraints for trial in study_in(store).trials)
    assert first["training_flops"] == -10 and first["validation_accuracy"] < 0
    assert second["training_flops"] == 30 and second["validation_accuracy"] == pytest.approx(0.1)
    assert third["training_flops"] == float("inf")  # what was not measured is not within bounds


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsgaii", "qmc", "random"])
def test_several_objectives_go_together_with_early_stopping(sampler: str, store: ObjectStore) -> None:
    study = open_study(SweepStore(store, "several"), modes=["max", "min"])
    several = {"further_objectives": {"training_flops": "min"}, "sampler": sampler_block(sampler)}
    search = search_on(study, num_trials=9, **several)
    for number in range(9):
        key = suggest(search)["trial_id"]
        search.report(key, 10, 0.1 * number)
        report = {"validation_accuracy": 0.1 * number, "training_flops": 1e9 * number}
        if number % 3 == 2:
            search.tell(key, TrialState.STOPPED_EARLY, report, share=0.25)
        else:
            search.tell(key, TrialState.COMPLETED, report)
    trials = open_study(SweepStore(store, "several"), modes=["max", "min"]).trials
    assert [trial.values for trial in trials[:3]] == [[0.0, 0.0], [0.1, 1e9], None]
    assert trials[2].state is OptunaState.PRUNED
    assert trials[2].intermediate_values == {10: 0.2}
    assert trials[2].constraints == {"unused_budget": 0.75}
    assert len(study.best_trials) == 6  # more accuracy costs more here, so none is beaten


def test_a_later_session_first_continues_what_was_running_with_the_same_settings(store: ObjectStore) -> None:
    first = search_on(study_in(store))
    before = [suggest(first) for _ in range(3)]
    first.report("t0001", 10, 0.5)
    first.tell("t0001", TrialState.STOPPED_EARLY, {"validation_accuracy": 0.5})
    # The driver dies here; a new one reads the study from storage.
    second = search_on(study_in(store))
    assert [suggest(second) for _ in range(2)] == [before[0], before[2]]
    assert suggest(second)["trial_id"] == "t0003"
    assert second.suggest() is None
    second.tell("t0000", TrialState.COMPLETED, {"validation_accuracy": 0.9})
    assert study_in(store).trials[0].value == 0.9


def test_a_trial_that_died_before_its_settings_were_kept_gets_those_it_would_have_had() -> None:
    undisturbed, disturbed = search_on(new_study(), sampler=RANDOM), new_study()
    expected = [suggest(undisturbed) for _ in range(2)]
    first = search_on(disturbed, sampler=RANDOM)
    suggest(first)
    first._seed_sampler(1)
    disturbed.ask()  # and the driver dies here
    assert [suggest(search) for search in [search_on(disturbed, sampler=RANDOM)] for _ in range(2)] == expected


def test_suggestions_do_not_depend_on_interruptions(store: ObjectStore) -> None:
    def run(study: SweepStudy, interrupt: bool) -> list[dict[str, Any]]:
        search, suggestions = search_on(study, num_trials=14), []
        for number in range(14):
            if interrupt and number % 3 == 0:
                search = search_on(SweepStudy("study", study.storage), num_trials=14)
            suggestions.append(suggest(search))
            made_up = 1 / (1 + suggestions[-1]["temperature"])
            search.tell(suggestions[-1]["trial_id"], TrialState.COMPLETED, {"validation_accuracy": made_up})
        return suggestions

    studies = [new_study() for _ in range(2)]
    assert run(studies[0], interrupt=False) == run(studies[1], interrupt=True)


def test_more_trials_extend_a_sweep(store: ObjectStore) -> None:
    first = search_on(study_in(store), num_trials=1)
    suggest(first)
    first.tell("t0000", TrialState.COMPLETED, {"validation_accuracy": 0.5})
    assert first.suggest() is None and not first.running
    assert suggest(search_on(study_in(store), num_trials=2))["trial_id"] == "t0001"


def test_a_fixed_field_is_out_of_the_search(store: ObjectStore) -> None:
    study = study_in(store)
    search = search_on(study, trial={"dataset": "digits", "student_steps": 3, "temperature": 2.0})
    suggestions = [suggest(search) for _ in range(3)]
    assert {(s["student_steps"], s["temperature"]) for s in suggestions} == {(3, 2.0)}
    assert {tuple(trial.params) for trial in study.trials} == {("generator_steps",)}


def test_pinned_trials_answer_for_every_kind_of_domain() -> None:
    trial = optuna.create_study().ask()
    pinned = PinnedTrial(trial, {"a": 3, "b": 0.5, "c": "x"})
    assert pinned.suggest_int("a", 0, 1) == 3
    assert pinned.suggest_float("b", 1, 2) == 0.5
    assert pinned.suggest_categorical("c", ["y"]) == "x"
    assert trial.params == {}
    assert 0 <= pinned.suggest_int("d", 0, 1) <= 1


def test_a_space_is_tried_out_before_a_trial_starts() -> None:
    def check(space: Any) -> list[str]:
        return list(infer_domains(space, SWEEP, forbidden=shared_fields()))

    assert check(resolve_space("step_ratio_temperature")) == ["generator_steps", "student_steps", "temperature"]
    with pytest.raises(ConfigError, match="temperature=-"):
        check(lambda trial: {"temperature": trial.suggest_float("temperature", -1, 1)})
    with pytest.raises(ConfigError, match="unknown field 'student_stepz'"):
        check(lambda trial: {"student_stepz": 1})
    with pytest.raises(ValueError, match="teacher cannot vary within a sweep"):
        check(lambda trial: {"teacher": "lenet"})
    with pytest.raises(ValueError, match="parameter ratio sets no field of that name"):
        check(lambda trial: {"student_steps": trial.suggest_int("ratio", 1, 3)})


@pytest.mark.parametrize(
    "domain",
    [
        {"student_steps": {"type": "int", "low": 0, "high": 10_000}},
        {"validation_fraction": {"type": "float", "low": 0.0, "high": 1.0}},
        {"latents": {"type": "categorical", "choices": [*["shared"] * 999, "stale"]}},
    ],
)
def test_the_ends_of_each_domain_are_tried_out_too(domain: dict[str, Any]) -> None:
    (field,) = domain
    with pytest.raises(ConfigError, match=f"{field}=.* not allowed"):
        infer_domains(resolve_space(domain), SWEEP, forbidden=())


def test_the_ends_of_a_field_that_depends_on_another_are_tried_out_where_it_is_there() -> None:
    def space(trial: Any) -> dict[str, Any]:
        found = {"generator_steps": trial.suggest_int("generator_steps", 1, 10)}
        if found["generator_steps"] > 8:
            found["student_steps"] = trial.suggest_int("student_steps", 0, 10_000)
        return found

    with pytest.raises(ConfigError, match="student_steps=0: not allowed"):
        infer_domains(space, SWEEP, forbidden=())


def test_a_trial_whose_settings_no_config_can_have_fails_and_the_next_one_is_asked_for(store: ObjectStore) -> None:
    study, said = study_in(store), list[str]()
    refused: set[float] = set()

    def space(trial: Any) -> dict[str, Any]:
        temperature = trial.suggest_float("temperature", 1, 20)
        return {"temperature": temperature, "student_steps": 0 if temperature in refused else 5}

    elsewhere = SweepSearch(new_study(), SWEEP, space, sweep_id="sweep-a")
    refused |= set([suggest(elsewhere)["temperature"] for _ in range(3)][1:])
    search = SweepSearch(study, SWEEP, space, sweep_id="sweep-a", warn=said.append)
    assert [suggest(search)["trial_id"] for _ in range(2)] == ["t0000", "t0003"]
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL", "FAIL", "RUNNING"]
    assert len(said) == 2
    assert said[0].startswith("t0001 failed before it began: trial: student_steps=0: not allowed")
    again = SweepSearch(study_in(store), SWEEP, space, sweep_id="sweep-a")
    assert [suggest(again)["trial_id"] for _ in range(2)] == ["t0000", "t0003"]


def test_settings_are_kept_as_json_that_reads_back(store: ObjectStore) -> None:
    study = study_in(store)
    suggestion = suggest(search_on(study))
    kept = json.loads(study.trials[0].user_attrs["config"])
    assert kept == {key: value for key, value in suggestion.items() if key not in {"trial_id", "case"}}
