from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import timedelta

import pytest

from orchestrator.config.loading import load_sweep
from orchestrator.results import ResultWriter, SessionEvent, SweepResults, TrialRecord, TrialState, read_trials
from orchestrator.results.records import ENDED
from orchestrator.results.schema import CONFIG_PREFIX, SWEEPS, TRIALS
from orchestrator.results.sessions import session_row
from orchestrator.storage import SweepStore
from tests.support.records import record
from tests.support.rows import NOW, trial
from trainables.config import SupervisedConfig, ZeroShotConfig, config_classes
from trainables.config.roles import Column
from trainables.metrics import METRICS
from trainables.storage.object_store import ObjectStore


def test_every_column_of_a_trial_has_a_place_in_its_record() -> None:
    here = {field.name for field in fields(TrialRecord)} - {"sweep_id", "settings", "metrics", "recovery_causes"}
    settings = {CONFIG_PREFIX + name for name in record().settings} - {
        CONFIG_PREFIX + name
        for model in config_classes()
        for name, field in model.model_fields.items()
        if Column.WHERE_GIVEN in field.metadata
    }
    assert here | settings | record().metrics.keys() | {"recovery_causes_json"} == set(TRIALS.names)
    assert record().metrics.keys() == {metric.name for metric in METRICS}


def test_values_are_those_of_the_row() -> None:
    made = record("t0007", case="deep", recovery_causes_json='{"lost": 2}', error=None, student_loss=0.25)
    assert (made.trial_number, made.case, made.error, made.metrics["student_loss"]) == (7, "deep", "", 0.25)
    assert made.recovery_causes == Counter(lost=2)
    assert made.computing_seconds == 1.0
    assert made.done == made.metrics["pseudo_batches"] == 10


def test_a_trial_that_never_reported_has_done_nothing() -> None:
    never = record("t0000", state="failed", **{metric.name: None for metric in METRICS})
    assert never.done is None
    assert never.computing_seconds is None
    assert not never.state.has_result


def test_the_config_is_of_the_trials_method_and_old_fields_have_the_value_they_ran_under() -> None:
    assert record().config == ZeroShotConfig()
    assert record(config_numerics=None).config.model_dump()["numerics"] == "exact"
    assert record(config_numerics=None).settings["numerics"] is None
    supervised = {CONFIG_PREFIX + name: field.default for name, field in SupervisedConfig.model_fields.items()}
    assert record(**dict.fromkeys(name for name in TRIALS.names if name.startswith("config_")) | supervised).config == (
        SupervisedConfig()
    )


def test_states_are_the_words_of_the_table() -> None:
    assert [str(state) for state in ENDED] == ["completed", "stopped_early", "diverged", "failed"]
    assert [state for state in TrialState if state.has_result] == [TrialState.COMPLETED, TrialState.STOPPED_EARLY]
    assert TrialState.STOPPED_EARLY.word == "stopped early"
    assert not TrialState.RUNNING.ended
    with pytest.raises(ValueError, match="paused"):
        record(state="paused")


def test_constraints_that_a_version_did_not_know_are_kept() -> None:
    assert [record(feasible=feasible).keeps_constraints for feasible in (True, None, False)] == [True, True, False]


def test_a_sweeps_results_are_its_own_and_read_what_came_since(store: ObjectStore) -> None:
    ours = SweepStore(store, "sweep-a")
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    writer.write_trial(trial("t0001", state="failed", error="boom"))
    ResultWriter(SweepStore(store, "sweep-b")).write_trial(trial("t0000"))
    results = SweepResults(ours)
    assert [(one.trial_id, one.state) for one in results.trials()] == [("t0001", TrialState.FAILED)]
    writer.write_trial(trial("t0000"))
    assert [one.trial_id for one in results.trials()] == ["t0000", "t0001"]
    assert [one.sweep_id for one in results.sibling("sweep-b").trials()] == ["sweep-b"]
    assert len(results.trials_of_storage()) == 3


def test_sessions_come_in_their_order_with_their_config(store: ObjectStore) -> None:
    sweep = load_sweep("quickstart")
    writer = ResultWriter(SweepStore(store, "sweep-a"))
    for event, hours in ((SessionEvent.FINISHED, 1), (SessionEvent.STARTED, 0)):
        row = session_row(
            sweep, ["temperature"], number=0, event=event, cpus=2, gpus=0, at=NOW + timedelta(hours=hours)
        )
        writer.write_session(row)
    started, finished = SweepResults(SweepStore(store, "sweep-a")).sessions()
    assert (started.event, finished.event) == ("started", "finished")
    assert started.config == sweep
    assert started.searched == ["temperature"]
    assert started.informed_by is None
    assert "python" in started.versions
    columns = {name.removesuffix("_json") for name in SWEEPS.names} - {"objective"}
    assert columns == {field.name.removesuffix("_json") for field in fields(type(started))} - {"sweep_id"}


def test_what_only_some_rows_have_is_among_their_settings(store: ObjectStore) -> None:
    writer = ResultWriter(SweepStore(store, "own"))
    writer.write_trial(trial("t0000", **{CONFIG_PREFIX + "generator_term": None}))
    assert read_trials(store, "own").schema.names == ["sweep_id", *TRIALS.names]
    own = {CONFIG_PREFIX + "generator_term": "mine.py:a", CONFIG_PREFIX + "of_a_users_method": 2}
    writer.write_trial(trial("t0001", **own))
    writer.compact()
    writer.write_trial(trial("t0002", **own))
    ResultWriter(SweepStore(store, "other")).write_trial(trial("t0000", **{CONFIG_PREFIX + "of_a_users_method": "b"}))
    assert read_trials(store, "own").schema.names == ["sweep_id", *TRIALS.names, *own]
    rows = SweepResults(SweepStore(store, "own")).trials()
    assert [row.settings["generator_term"] for row in rows] == [None, "mine.py:a", "mine.py:a"]
    assert [row.settings["of_a_users_method"] for row in rows] == [None, 2, 2]
    everything = SweepResults(SweepStore(store, "own")).trials_of_storage()
    assert sorted(str(row.settings["of_a_users_method"]) for row in everything) == ["2", "2", "None", "b"]
    with pytest.raises(ValueError, match="no such columns: tset_accuracy"):
        writer.write_trial(trial("t0003", tset_accuracy=0.5))
