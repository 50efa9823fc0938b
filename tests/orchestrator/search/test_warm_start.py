from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import FrozenTrial

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, SweepNotFoundError
from orchestrator.results import ResultWriter, SessionEvent, TrialState
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.results.sessions import session_row
from orchestrator.search.space import infer_domains
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.search.warm_start import past_trials
from orchestrator.storage import SweepStore, layout
from search_spaces import resolve_space
from tests.support.rows import trial
from tests.support.searches import suggest
from tests.support.tiny import tiny_settings
from trainables.storage.object_store import ObjectStore

SPACE = {"temperature": {"type": "float", "low": 1, "high": 4}}


def sweep_of(**changes: Any) -> SweepConfig:
    values = {"name": "test", "trial": tiny_settings(), "space": SPACE, "warm_start": ["earlier"], **changes}
    return SweepConfig.model_validate(values)


def write(store: ObjectStore, sweep_id: str, rows: list[dict[str, Any]], **changes: Any) -> None:
    sweep = sweep_of(warm_start=[], **changes)
    writer = ResultWriter(SweepStore(store, sweep_id))
    writer.write_session(session_row(sweep, ["temperature"], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0))
    base = {CONFIG_PREFIX + name: value for name, value in sweep.trial_config({}).model_dump().items()}
    for number, row in enumerate(rows):
        writer.write_trial(trial(f"t{number:04d}", **{**base, **row}))


def past(store: ObjectStore, sweep: SweepConfig, name: str = "new") -> tuple[list[FrozenTrial], list[str]]:
    """What a session of a sweep begins with, and says of it; kept as a session keeps it."""
    said: list[str] = []
    domains = infer_domains(resolve_space(sweep.space), sweep, forbidden=())
    found = past_trials(SweepStore(store, name), sweep, domains, say=said.append)
    row = session_row(sweep, list(domains), number=0, event=SessionEvent.STARTED, cpus=1, gpus=0, informed_by=found)
    ResultWriter(SweepStore(store, name)).write_session(row)
    return list(found.values()), said


def test_completed_trials_of_the_same_kind_count_and_the_others_are_told(store: ObjectStore) -> None:
    write(
        store,
        "earlier",
        [
            {"config_temperature": 2.0, "validation_accuracy": 0.7},
            {"config_temperature": 3.0, "state": "stopped_early"},
            {"config_temperature": 8.0},
            {"config_temperature": 2.0, "config_student_steps": 7},
            {"config_temperature": 2.5, "config_total_pseudo_batches": 99},
            # What was measured beside its value, and with which seed, makes no other trial.
            {"config_temperature": 1.5, "config_seed": 5, "config_data_free_scores": None, "validation_accuracy": 0.6},
        ],
    )
    found, said = past(store, sweep_of())
    assert [(t.params, t.values) for t in found] == [({"temperature": 2.0}, [0.7]), ({"temperature": 1.5}, [0.6])]
    assert len(said) == 1
    assert said[0].startswith("warm start from 2 trials of earlier; 1 left out: ")
    for reason in ("temperature outside", "student_steps=7, here 2", "total_pseudo_batches=99, here 4"):
        assert reason in said[0]


def test_scores_without_data_are_taken_from_students_of_one_teacher_only(store: ObjectStore) -> None:
    scored = {"data_free_score": 0.5, "config_data_free_scores": True, "config_temperature": 2.0}
    write(store, "earlier", [scored, {**scored, "config_teacher_seed": 7}])
    found, said = past(store, sweep_of(objective="data_free_score"))
    assert len(found) == 1
    assert "1 left out: teacher_seed=7, here " in said[0]
    assert len(past(store, sweep_of(), "by labels")[0]) == 2
    with pytest.raises(ConfigError, match="the teacher of earlier was trained by another recipe"):
        past(store, sweep_of(objective="data_free_score", teacher_recipe={"full_data_epochs": 1}), "of another")


def test_what_was_taken_stays_though_the_other_sweep_goes_on(store: ObjectStore) -> None:
    write(store, "earlier", [{"config_temperature": 2.0}])
    first, _ = past(store, sweep_of())
    write(store, "earlier", [{"config_temperature": 2.0}, {"config_temperature": 3.0}])
    again, said = past(store, sweep_of())
    assert [t.params for t in again] == [t.params for t in first]
    assert said == []
    assert len(past(store, sweep_of(), "newer")[0]) == 2
    for key in store.keys(layout.sweep_folder("trials", "earlier")):
        store.delete(key)
    with pytest.raises(ConfigError, match="began with earlier/t0000, which the storage no longer has"):
        past(store, sweep_of())


def test_nothing_to_begin_with_is_an_error(store: ObjectStore) -> None:
    with pytest.raises(SweepNotFoundError, match="no sweep earlier"):
        past(store, sweep_of())
    write(store, "earlier", [{"config_temperature": 9.0}])
    with pytest.raises(ConfigError, match="no completed trial that can be used .1 left out: temperature outside"):
        past(store, sweep_of())
    with pytest.raises(ConfigError, match="the budgets must be equal"):
        past(store, sweep_of(budget={"unit": "student_updates", "amount": 8}))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_learns_from_it_at_once_and_the_study_holds_its_own_trials_only(
    sampler: str, store: ObjectStore
) -> None:
    rows = [{"config_temperature": 1 + 0.15 * n, "validation_accuracy": 1 - abs(n - 14) / 20} for n in range(20)]
    write(store, "earlier", rows)
    sweep = sweep_of(sampler={"name": sampler, "startup_trials": 5}, num_trials=10)
    found, _ = past(store, sweep)
    study = open_study(SweepStore(store, "new"), modes=["max"])
    search = SweepSearch(study, sweep, resolve_space(SPACE), sweep_id="new", first={"temperature": 1.0}, past=found)
    temperatures = []
    for number in range(8):
        suggestion = suggest(search)
        assert suggestion["trial_id"] == f"t{number:04d}"
        temperatures.append(suggestion["temperature"])
        search.tell(suggestion["trial_id"], TrialState.COMPLETED, {"validation_accuracy": 0.0})
    assert temperatures[0] == 1.0  # the published settings all the same
    uninformed = SweepSearch(
        open_study(SweepStore(store, "cold"), modes=["max"]), sweep, resolve_space(SPACE), sweep_id="cold"
    )
    cold = [suggest(uninformed)["temperature"] for _ in range(8)]
    near, cold_near = (sum(abs(t - 3.1) for t in ts[1:4]) for ts in (temperatures, cold))
    assert near < cold_near / 2
    assert len(study.trials) == 8
