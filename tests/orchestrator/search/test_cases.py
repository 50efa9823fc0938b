"""Sweeps that are lists of cases: what runs, in which order, and what is read back."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState as OptunaState
from pydantic import ValidationError

from orchestrator.analysis.cases import read_cases
from orchestrator.config import Assignment, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.results import TrialState
from orchestrator.search.study import SweepStudy
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import preset_names, resolve_space
from tests.support.case_sweeps import write
from tests.support.rows import NOW
from tests.support.searches import new_study, next_trial, suggest
from tests.support.tiny import tiny_settings
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.storage.object_store import ObjectStore

FEW_SHOT: dict[str, Any] = {
    "trial": {"dataset": "digits", "student": "lenet"},
    "cases": {
        "zero-shot": {"teacher": "lenet"},
        "fine-tuned": {"method": "supervised", "initial_student": "case:zero-shot", "images_per_class": 5},
        "scratch": {"method": "supervised", "images_per_class": 5},
    },
    "seeds": [0, 1],
}


def sweep_of(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "few-shot", **FEW_SHOT, **changes})


def search_on(
    study: SweepStudy, sweep: SweepConfig, settled: dict[Assignment, str] | None = None, failed: Collection[int] = ()
) -> SweepSearch:
    return SweepSearch(study, sweep, resolve_space({}), sweep_id="here", completed_elsewhere=settled, failed=failed)


def order(search: SweepSearch, *, end: bool = True) -> list[tuple[str, int]]:
    """What is asked for until there is nothing to be had."""
    found = []
    while suggestion := next_trial(search):
        found.append((suggestion["case"], suggestion["seed"]))
        if end:
            search.tell(suggestion["trial_id"], TrialState.COMPLETED, {})
    return found


def test_cases_select_nothing_and_their_number_follows() -> None:
    sweep = sweep_of()
    assert (sweep.objective, sweep.scheduler.name, sweep.num_trials) == (None, "none", 6)
    assert sweep_of(only=["scratch"]).num_trials == 2
    kinds = [type(config) for config in sweep.configs()]
    assert kinds == [ZeroShotConfig, SupervisedConfig, SupervisedConfig] * 2
    assert [config.seed for config in sweep.configs()] == [0, 0, 0, 1, 1, 1]
    # What a session wrote down is read again, defaults that cases do not have included.
    assert SweepConfig.model_validate_json(sweep.model_dump_json()) == sweep


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "validation_accuracy"}, "has no objective and no early stopping"),
        ({"scheduler": {"name": "asha"}}, "has no objective and no early stopping"),
        ({"space": {"temperature": {}}}, "cases and space exclude each other"),
        ({"only": ["scratsch"]}, "unknown case 'scratsch'; did you mean scratch"),
        ({"only": ["fine-tuned"]}, "starts from case zero-shot, which must be among the cases to run"),
        ({"seeds": [0, 0]}, "no seed twice"),
        ({"seeds": []}, "at least one seed"),
        ({"cases": {"Bad Name": {}}}, "must begin with a small letter"),
        ({"cases": {"a": {"initial_student": "case:b", "method": "supervised"}}}, "starts from case b"),
        (
            {"cases": {a: {"initial_student": f"case:{b}", "method": "supervised"} for a, b in ("ab", "bc", "cb")}},
            "cases start from each other, so that none can be the first: a, b, c",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        sweep_of(**changes)


def test_only_may_name_cases_in_any_order_and_twice() -> None:
    sweep = sweep_of(only=["scratch", "fine-tuned", "zero-shot", "scratch"])
    assert (sweep.only, sweep.num_trials) == (["zero-shot", "fine-tuned", "scratch"], 6)


def test_a_case_may_stand_before_the_one_that_it_starts_from() -> None:
    cases = {name: FEW_SHOT["cases"][name] for name in ("fine-tuned", "zero-shot")}
    assert order(search_on(new_study(), sweep_of(cases=cases, seeds=[0]))) == [("zero-shot", 0), ("fine-tuned", 0)]


def test_what_is_for_cases_is_refused_for_a_search() -> None:
    for flags in ({"only": ["x"]}, {"seeds": [0, 1]}):
        with pytest.raises(ConfigError, match="is for sweeps of cases, and this one is a search"):
            load_sweep("quickstart", flags=flags)


@pytest.mark.parametrize(
    ("given", "blamed"),
    [
        ({"flags": {"seed": 5}}, "--seed"),
        ({"flags": {"num_trials": 2}}, "--num-trials"),
        ({"assignments": ["seed=9"]}, "--set seed"),
        ({"in_file": {"seed": 5}}, "cases.yaml: seed"),
        ({"in_file": {"num_trials": 7}}, "cases.yaml: num_trials"),
        ({"in_file": {"trial": {**FEW_SHOT["trial"], "seed": 1}}}, "cases.yaml: trial: seed"),
        ({"in_file": {"cases": {"scratch": {"method": "supervised", "seed": 1}}}}, "cases.yaml: case scratch: seed"),
    ],
)
def test_what_has_no_effect_on_cases_is_refused_with_what_has(
    given: dict[str, Any], blamed: str, tmp_path: Path
) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"name": "few-shot", **FEW_SHOT, **given.get("in_file", {})}))
    with pytest.raises(
        ConfigError, match=re.escape(blamed) + ": has no effect on a sweep of cases.*use seeds: "
    ) as caught:
        load_sweep(str(file), flags=given.get("flags"), assignments=given.get("assignments", ()))
    assert "\n" not in str(caught.value)


def test_what_a_session_wrote_down_of_cases_is_a_file_of_cases(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(sweep_of().model_dump(mode="json"), sort_keys=False))
    assert load_sweep(str(file)).assignments() == sweep_of().assignments()
    # Fewer of them are asked for, or more.
    assert load_sweep(str(file), flags={"only": ["scratch"]}).num_trials == 2
    assert load_sweep(str(file), flags={"seeds": [0, 1, 2]}).num_trials == 9
    with pytest.raises(ConfigError, match="^--num-trials: has no effect"):
        load_sweep(str(file), flags={"only": ["scratch"], "num_trials": 6})


def test_a_file_for_a_teacher_that_nobody_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trial has teacher wrn16-2; allowed: wrn-16-2, wrn-40-1, wrn-40-2"):
        load_sweep("paper-table-1", flags={"teachers": {"wrn16-2": "a.pt"}})


def test_a_wrong_field_is_blamed_on_its_case() -> None:
    with pytest.raises(ConfigError, match="case a: unknown field 'generator_steps'"):
        sweep_of(cases={"a": {"method": "supervised", "generator_steps": 2}})
    with pytest.raises(
        ConfigError, match="case a: method=few_shot: unknown; allowed: zero_shot, data_free, supervised"
    ):
        sweep_of(cases={"a": {"method": "few_shot"}})


def test_a_search_needs_an_objective_and_images_to_measure_it_on() -> None:
    with pytest.raises(ValidationError, match="objective=none: a search needs one"):
        SweepConfig(name="x", objective=None)
    with pytest.raises(ValidationError, match="validation_accuracy needs trial"):
        SweepConfig(name="x", trial={"validation_fraction": 0})


def test_assignments_on_the_command_line_win_in_every_case() -> None:
    sweep = load_sweep("digits-table-1", assignments=["student_steps=3", "gradient_clip_norm=none"])
    config = sweep.configs()[0]
    assert isinstance(config, ZeroShotConfig)
    assert (config.student_steps, config.gradient_clip_norm, config.batch_size) == (3, None, 32)


def test_scaling_keeps_the_learning_rates_and_shortens_what_is_supervised() -> None:
    sweep = sweep_of(scale=0.01, trial={"dataset": "cifar10", "student": "lenet"})
    zero_shot, few, _ = sweep.configs()[:3]
    assert isinstance(zero_shot, ZeroShotConfig)
    assert (zero_shot.total_pseudo_batches, zero_shot.horizon, zero_shot.report_interval) == (800, 80_000, 80)
    assert few.budget == 2000  # a hundredth of 200 epochs of 5,000 images a class, at 5 a class
    # A teacher of two epochs would know nothing.
    assert sweep.teacher_config(zero_shot).budget == 10
    assert sweep_of(scale=0.5, trial={"dataset": "cifar10", "student": "lenet"}).teacher_config(zero_shot).budget == 100


def test_teachers_by_architecture_are_every_trials_checkpoint() -> None:
    sweep = load_sweep("paper-table-1", flags={"teachers": {"wrn-16-2": "a.pt"}})
    given = {config.teacher: config.teacher_checkpoint for config in sweep.configs()}
    assert given == {"wrn-16-2": "a.pt", "wrn-40-1": None, "wrn-40-2": None}


def test_seeds_come_in_turn_and_a_case_waits_for_the_student_that_it_starts_from() -> None:
    search = search_on(new_study(), sweep_of())
    first, second = suggest(search), suggest(search)
    # The fine-tuned case is next, but its zero-shot student is still being trained: others go first.
    assert [(s["case"], s["seed"]) for s in (first, second)] == [("zero-shot", 0), ("scratch", 0)]
    assert [suggest(search)["case"] for _ in range(2)] == ["zero-shot", "scratch"]
    assert search.suggest() is None
    search.tell(first["trial_id"], TrialState.COMPLETED, {})
    tuned = suggest(search)
    assert (tuned["case"], tuned["seed"], tuned["initial_student"]) == ("fine-tuned", 0, f"here/{first['trial_id']}")
    assert search.suggest() is None
    search.tell("t0002", TrialState.FAILED, {})
    # Its student will never come; the trial says so when it is built.
    assert suggest(search)["initial_student"] == "here/t0002"
    for trial_id in ("t0001", "t0003", "t0004", "t0005"):
        assert search.suggest() is None
        search.tell(trial_id, TrialState.COMPLETED, {})
    assert search.suggest() is None and not search.running


def test_a_later_session_runs_what_is_left_and_more_seeds_extend_it() -> None:
    study = new_study()
    first = search_on(study, sweep_of())
    running = [suggest(first), suggest(first)]
    first.tell(running[1]["trial_id"], TrialState.COMPLETED, {})
    second = search_on(study, sweep_of())
    assert suggest(second) == running[0]
    second.tell(running[0]["trial_id"], TrialState.COMPLETED, {})
    assert order(second) == [("fine-tuned", 0), ("zero-shot", 1), ("fine-tuned", 1), ("scratch", 1)]
    assert order(search_on(study, sweep_of(seeds=[0, 1, 2], only=["scratch"]))) == [("scratch", 2)]
    assert {t.state for t in study.trials} == {OptunaState.COMPLETE}


def test_what_failed_runs_once_more_before_what_starts_from_it() -> None:
    study = new_study()
    first = search_on(study, sweep_of(seeds=[0]))
    zero_shot, scratch = suggest(first), suggest(first)
    first.tell(scratch["trial_id"], TrialState.COMPLETED, {})
    first.tell(zero_shot["trial_id"], TrialState.FAILED, {})
    first.tell(suggest(first)["trial_id"], TrialState.FAILED, {})  # fine-tuned: there was no student to start from
    assert first.suggest() is None and not first.running
    second = search_on(study, sweep_of(seeds=[0]), failed={0, 2})
    again = suggest(second)
    assert (again["case"], again["trial_id"]) == ("zero-shot", "t0003")
    assert second.suggest() is None
    second.tell("t0003", TrialState.COMPLETED, {})
    assert suggest(second)["initial_student"] == "here/t0003"


def test_a_running_trial_of_a_case_that_is_not_wanted_now_stays_as_it_is() -> None:
    study = new_study()
    suggest(search_on(study, sweep_of()))
    assert order(search_on(study, sweep_of(only=["scratch"]))) == [("scratch", 0), ("scratch", 1)]
    assert study.trials[0].state is OptunaState.RUNNING


@pytest.mark.parametrize("settled_config", [True, False])
def test_a_trial_whose_driver_died_early_gets_an_assignment(settled_config: bool) -> None:
    study = new_study()
    trial = study.ask()
    if settled_config:  # it died between the two things that are kept
        trial.set_user_attr("assignment", {"case": "scratch", "seed": 1})
    found = order(search_on(study, sweep_of()))
    assert found[0] == (("scratch", 1) if settled_config else ("zero-shot", 0))
    assert len(found) == len(set(found)) == 6


def test_what_another_sweep_has_is_not_run_and_its_student_is_used() -> None:
    settled = {Assignment(case="zero-shot", seed=seed): f"other/t000{seed}" for seed in (0, 1)}
    search = search_on(new_study(), sweep_of(), settled)
    tuned = suggest(search)
    assert (tuned["case"], tuned["initial_student"]) == ("fine-tuned", "other/t0000")
    assert ("zero-shot", 0) not in order(search)


# What is read back.


def test_results_are_found_by_their_settings_in_any_sweep(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate(
        {
            "name": "pairs",
            "trial": tiny_settings(),
            "cases": {"plain": {}, "hot": {"temperature": 2.0}},
            "seeds": [0, 1],
        }
    )
    plain, hot, plain_1, _ = sweep.configs()
    write(store, "other", 0, plain, test_accuracy=0.1)
    write(store, "other", 1, plain, test_accuracy=0.2, ended_at=NOW + timedelta(seconds=1))
    same = hot.model_copy(update={"evaluation_interval": 1})
    write(store, "other", 2, same, test_accuracy=0.3, config_cuda_graphs=None)  # of a version that had no graphs
    write(store, "other", 3, plain_1, test_accuracy=0.9, state="stopped_early")
    write(store, "other", 4, plain_1.model_copy(update={"student_lr": 0.1}), test_accuracy=0.9)
    results = read_cases(SweepStore(store, "here"), sweep)
    assert results.values("plain", "test_accuracy") == [0.2]  # the newest
    assert results.values("hot", "test_accuracy") == [0.3]  # how it is measured and launched makes no other trial
    assert results.completed_elsewhere == {
        Assignment(case="plain", seed=0): "other/t0001",
        Assignment(case="hot", seed=0): "other/t0002",
    }
    write(store, "here", 0, plain, test_accuracy=0.4)
    results = read_cases(SweepStore(store, "here"), sweep)
    assert results.by_seed("plain", "test_accuracy") == {0: 0.4}  # its own first
    assert results.completed_elsewhere == {Assignment(case="hot", seed=0): "other/t0002"}


def test_runs_of_a_case_have_one_teacher(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate(
        {"name": "pairs", "trial": tiny_settings(), "cases": {"plain": {}}, "seeds": [0, 1, 2]}
    )
    first, second, third = sweep.configs()
    write(store, "other", 0, first, teacher_sha256="old")
    write(store, "other", 1, second, teacher_sha256="new", ended_at=NOW + timedelta(seconds=1))
    assert [a.seed for a in read_cases(SweepStore(store, "here"), sweep).rows] == [1]
    write(store, "here", 0, third, teacher_sha256="old")  # the sweep's own decides
    assert [a.seed for a in read_cases(SweepStore(store, "here"), sweep).rows] == [0, 2]


def test_trials_that_came_to_nothing_are_counted(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate({"name": "pairs", "trial": tiny_settings(), "cases": {"plain": {}}})
    (config,) = sweep.configs()
    write(store, "here", 0, config, case="plain", state="diverged")
    write(store, "here", 1, config, case="plain", state="failed", error="CUDA out of memory")
    write(store, "other", 2, config, case="plain", state="failed", error="elsewhere")
    assert (
        read_cases(SweepStore(store, "here"), sweep).unsuccessful("plain") == "1 diverged, 1 failed: CUDA out of memory"
    )


def test_a_trial_that_failed_does_not_count_once_its_case_has_run_again(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate(
        {"name": "pairs", "trial": tiny_settings(), "cases": {"plain": {}}, "seeds": [0, 1]}
    )
    first, second = sweep.configs()
    write(store, "here", 0, first, case="plain", state="failed", error="CUDA out of memory", trial_number=0)
    write(store, "here", 1, second, case="plain", state="failed", error="no such device", trial_number=1)
    write(store, "here", 2, first, case="plain", trial_number=2)
    found = read_cases(SweepStore(store, "here"), sweep)
    assert found.unsuccessful("plain") == "1 failed: no such device"
    assert [row.trial_number for row in found.rows.values()] == [2]


def test_a_trial_without_transition_curves_is_not_one_with_them(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate(
        {"name": "curves", "trial": {**tiny_settings(), "transition_images": 5}, "cases": {"a": {}}}
    )
    (wanted,) = sweep.configs()
    write(store, "other", 0, wanted.model_copy(update={"transition_images": 0}))
    assert read_cases(SweepStore(store, "here"), sweep).rows == {}
    write(store, "other", 1, wanted)
    assert len(read_cases(SweepStore(store, "here"), sweep).rows) == 1


def test_what_was_measured_of_a_trial_must_hold_what_is_wanted(store: ObjectStore) -> None:
    trial = {**tiny_settings(), "data_free_scores": True}
    sweep = SweepConfig.model_validate({"name": "scored", "trial": trial, "cases": {"a": {}}})
    (wanted,) = sweep.configs()
    write(store, "other", 0, wanted.model_copy(update={"audited": False}), test_accuracy=None)
    write(store, "other", 1, wanted.model_copy(update={"data_free_scores": False}), data_free_score=None)
    assert read_cases(SweepStore(store, "here"), sweep).rows == {}
    blind = SweepConfig.model_validate({"name": "scored", "trial": {**trial, "audited": False}, "cases": {"a": {}}})
    assert [row.trial_id for row in read_cases(SweepStore(store, "here"), blind).rows.values()] == ["t0000"]
    write(store, "other", 2, wanted)
    assert [row.trial_id for row in read_cases(SweepStore(store, "here"), sweep).rows.values()] == ["t0002"]
    assert len(read_cases(SweepStore(store, "here"), blind).rows) == 1, "more than was wanted does no harm"


def test_fine_tuned_students_are_taken_from_their_own_sweep_only(store: ObjectStore) -> None:
    sweep = sweep_of(seeds=[0])
    tuned = sweep.case_config(Assignment(case="fine-tuned", seed=0))
    for sweep_id, found in (("other", 0), ("here", 1)):
        write(store, sweep_id, 1, tuned.model_copy(update={"initial_student": f"{sweep_id}/t0000"}), case="fine-tuned")
        assert len(read_cases(SweepStore(store, "here"), sweep).rows) == found
    # Training from fresh weights is another case, although it is otherwise the same.
    assert list(read_cases(SweepStore(store, "here"), sweep).rows) == [Assignment(case="fine-tuned", seed=0)]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_sweep_and_says_what_it_is(name: str) -> None:
    sweep = load_sweep(name)
    assert sweep.name == name
    assert sweep.description.endswith(".")
    # A shortened one too, and with other seeds.
    assert load_sweep(name, flags={"scale": 0.01}).configs()
