from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import SweepNotFoundError
from orchestrator.report.answer import advice, answer, question
from orchestrator.report.data import STEP_RATIO, read_sweep
from orchestrator.report.figures import map_axes
from orchestrator.results import ResultWriter, SessionEvent, TrialRecord, TrialState
from orchestrator.results.sessions import session_row
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore
from search_spaces import resolve_space
from tests.support.rows import report
from tests.support.searches import suggest
from tests.support.synthetic import write_search
from trainables.storage.object_store import ObjectStore


def test_trials_are_compared_at_equal_shares_of_their_budget(store: ObjectStore) -> None:
    write_search(store, "search-a")
    whole, early = read_sweep(SweepStore(store, "search-a")).comparisons()
    assert (whole.share, len(whole.trials)) == (1.0, 4)
    assert early.share == pytest.approx(40 / 140)
    assert len(early.trials) == 12
    first = early.trials[0]
    assert early.values[0] == first.reports[3]["validation_accuracy"] == first.at(early.share, "validation_accuracy")
    assert first.at(0.5, "validation_accuracy") == first.reports[6]["validation_accuracy"]
    assert early.trials[1].at(0.5, "validation_accuracy") is None, "it was stopped before"


def test_the_ratio_of_the_steps_is_an_axis(store: ObjectStore) -> None:
    write_search(store, "search-a")
    data = read_sweep(SweepStore(store, "search-a"))
    assert data.axes == [STEP_RATIO, "temperature"]
    trial = data.trials[1]
    assert trial.value(STEP_RATIO) == trial.settings["student_steps"] / trial.settings["generator_steps"]


def test_the_map_is_of_step_ratio_and_temperature_whatever_else_varies(store: ObjectStore) -> None:
    write_search(store, "search-a")
    data = read_sweep(SweepStore(store, "search-a"))
    data = replace(data, searched=["attention_weight", *data.searched])
    assert data.axes == [STEP_RATIO, "temperature", "attention_weight"]
    # What is the same in all trials has no axis.
    constant = replace(data, trials=[replace(t, settings={**t.settings, "temperature": 1.0}) for t in data.trials])
    assert map_axes(data) == (STEP_RATIO, "temperature")
    assert map_axes(constant) is None


def test_a_first_trial_that_the_space_kept_from_the_published_settings_is_not_called_by_their_name(
    store: ObjectStore,
) -> None:
    write_search(store, "search-a", first={"student_steps": 11})
    data = read_sweep(SweepStore(store, "search-a"))
    assert data.published is None
    text = answer(data, None)
    assert "; the published settings lie outside the search space. It is not confirmed" in text
    assert "than the published settings" not in text
    _, confirming = confirmation_sweep(data.board, top=3, seeds=2)
    assert confirming.cases["baseline"] == {"generator_steps": 1, "student_steps": 10, "temperature": 1.0}
    assert "t0000" in {*confirming.cases, *(row.trial_id for row in data.board.candidates[3:])}


def test_the_advice_can_be_typed_as_it_is(store: ObjectStore) -> None:
    storage = StorageConfig(uri="s3://bucket/my runs")
    write_search(store, "search-a", storage=storage)
    found = advice(read_sweep(SweepStore(store, "search-a")), None)
    assert found
    assert found.command == "zskt confirm search-a --top 3 --seeds 5 --storage 's3://bucket/my runs'"
    write_search(store, "search-b")
    found = advice(read_sweep(SweepStore(store, "search-b")), None)
    assert found
    assert "--storage" not in found.command


def test_a_trial_that_runs_has_reports_and_no_row(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3, ended=False)
    ResultWriter(SweepStore(store, "search-a")).write_report(report("t0007", 70))
    running = read_sweep(SweepStore(store, "search-a")).trial("t0007")
    assert (running.state, running.row, running.shares) == ("running", None, [0.5])


def test_the_settings_and_the_budget_of_a_trial_that_runs_are_those_of_the_study(store: ObjectStore) -> None:
    trial = {"dataset": "digits", "teacher": "lenet", "student": "lenet"}
    budget = {"unit": "student_updates", "amount": 1000}
    sweep = SweepConfig.model_validate(
        {"name": "a", "trial": trial, "space": "step_ratio_temperature", "budget": budget}
    )
    search = SweepSearch(
        open_study(SweepStore(store, "search-b"), modes=["max"]), sweep, resolve_space(sweep.space), sweep_id="search-b"
    )
    config = suggest(search)
    writer = ResultWriter(SweepStore(store, "search-b"))
    writer.write_session(session_row(sweep, ["student_steps"], number=0, event=SessionEvent.STARTED, cpus=2, gpus=0))
    writer.write_report(report("t0000", config["total_pseudo_batches"] // 2))
    running = read_sweep(SweepStore(store, "search-b")).trial("t0000")
    assert running.settings["student_steps"] == config["student_steps"]
    assert list(running.shares) == pytest.approx([0.5], abs=0.02)


def test_a_sweep_that_is_not_there_is_named_with_those_that_are(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    with pytest.raises(SweepNotFoundError, match="no sweep search-b in this storage; there: search-a"):
        read_sweep(SweepStore(store, "search-b"))


def test_the_answer_says_how_much_better_and_that_it_is_not_confirmed(store: ObjectStore) -> None:
    write_search(store, "search-a")
    data = read_sweep(SweepStore(store, "search-a"))
    best, published = data.best, data.published
    assert best and best.row and published and published.row
    text = answer(data, None)
    gain = 100 * ((best.row.objective or 0) - (published.row.objective or 0))
    assert gain > 0
    assert text.startswith(f"Best so far is {best.trial_id} (generator steps {best.settings['generator_steps']}, ")
    assert f"{gain:.2f} points better than the published settings" in text
    assert "It is not confirmed: the best of 12 trials with one seed is partly the luckiest" in text
    assert "1,000 validation images alone leave ±" in text
    assert question(data).startswith(
        "Which generator steps, student steps and temperature give the best validation accuracy?"
    )


def test_without_a_completed_trial_there_is_no_answer(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=0, ended=False)
    assert (
        answer(read_sweep(SweepStore(store, "search-a")), None)
        == "No trial has used its whole budget yet, so there is no answer."
    )


def _is_published(row: TrialRecord) -> bool:
    return row.trial_number == 0


def test_of_a_sweep_that_has_finished_without_a_best_trial_it_is_said_what_became_of_them(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    data = read_sweep(SweepStore(store, "search-a"))
    ends = (TrialState.STOPPED_EARLY, TrialState.FAILED, TrialState.FAILED)
    rows = [replace(row, state=end) for row, end in zip(sorted(data.board.rows, key=_is_published), ends, strict=True)]
    without = replace(data, board=replace(data.board, rows=rows))
    assert answer(without, None) == (
        "It has finished, but none of its trials used its whole budget (1 stopped early, 2 failed), so there is no answer."
    )
    offered = advice(without, None)  # what was stopped may be confirmed
    assert offered and "zskt confirm search-a" in offered.command
    assert advice(replace(data, board=replace(data.board, rows=[])), None) is None
