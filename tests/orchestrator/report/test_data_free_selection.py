"""The tables of ``benchmarks/data_free_selection.py`` and what ``data_free_picks`` chooses, from sweeps that nobody ran."""

from __future__ import annotations

import pytest

from benchmarks.data_free_picks import finalists, pick, rerun_sweep
from benchmarks.data_free_selection import completed, scores_of, table_of_moments, table_of_scores
from orchestrator.analysis.cases import CaseResults
from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.config import BASELINE, Assignment
from orchestrator.results import ResultWriter
from orchestrator.storage import SweepStore
from tests.support.records import record
from tests.support.rows import trial
from tests.support.synthetic import write_search
from trainables.storage.object_store import ObjectStore


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_sweeps_are_taken_as_one_and_the_better_score_comes_first(store: ObjectStore) -> None:
    for number in range(2):
        write_search(store, f"search-{number}", trials=24, seed=number, objective="data_free_score")
    entries = completed(store, ["search-0", "search-1"])
    assert len(entries) == 16
    scores = {name: [entry.at(1.0, name) for entry in entries] for name in ("divergence", "data_free_score")}
    heading, _, first, second = (cells(line) for line in table_of_scores(entries, scores))
    assert heading[:2] == ["score", "Spearman"]
    assert [first[0], second[0]] == ["data_free_score", "divergence"]
    assert first[1].startswith("0.9") or first[1].startswith("1.0")
    assert abs(float(second[1].split()[0])) < 0.7
    moments = [cells(line) for line in table_of_moments(entries, "data_free_score")][2:]
    assert len(moments) == 14, "as many as there are reports"
    assert moments[-1][2] == "1.00 [1.00, 1.00]", "labels at the end are what is compared with"


def test_a_lower_error_is_a_better_score(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24)
    (entry, *_) = completed(store, ["search-a"])
    assert entry.at(1.0, "divergence") == -(entry.trial.at(1.0, "divergence") or 0)
    assert entry.at(1.0, "not_measured") == -float("inf"), "nothing is worse"


def test_what_cannot_be_compared_is_refused(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24)
    writer = ResultWriter(SweepStore(store, "search-a"))
    writer.write_trial(trial("t0090", teacher_sha256="cd"))
    with pytest.raises(SystemExit, match="2 teachers; only students of one teacher are comparable"):
        completed(store, ["search-a"])


def test_what_sweeps_have_not_all_measured_is_no_score(store: ObjectStore) -> None:
    write_search(store, "scored", trials=24, objective="data_free_score")
    write_search(store, "plain", trials=24, seed=1)
    entries = completed(store, ["scored", "plain"])
    assert "data_free_score" not in scores_of(entries, "divergence")
    with pytest.raises(
        SystemExit, match="--score data_free_score: not every sweep has measured it; allowed: divergence, "
    ):
        scores_of(entries, "data_free_score")
    assert "data_free_score" in scores_of(completed(store, ["scored"]), "data_free_score")


def test_a_score_that_says_nothing_is_in_the_table(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24)
    entries = completed(store, ["search-a"])
    lines = [cells(line) for line in table_of_scores(entries, {"image_diversity": [0.5] * len(entries)})]
    assert lines[-1] == ["image_diversity", "constant", "", "", "", ""]


def test_too_few_trials_and_sweeps_that_are_not_there_are_refused(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=12)
    with pytest.raises(SystemExit, match="search-a: 4 completed trials; a ranking needs 5"):
        completed(store, ["search-a"])
    with pytest.raises(SystemExit, match="no sweep search-b in this storage; there: search-a"):
        completed(store, ["search-b"])


def test_each_side_picks_by_what_it_goes_by(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=12)
    board = read_leaderboard(SweepStore(store, "search-a"))
    chosen = finalists(board, "validation_accuracy", 3)
    best = sorted(board.candidates, key=lambda row: -row.metrics["validation_accuracy"])[:3]
    assert chosen == [BASELINE if row is board.published else row.trial_id for row in best]
    assert BASELINE in finalists(board, "validation_accuracy", 12), "the published setting may be picked too"
    sweep = rerun_sweep(board, chosen, seeds=2)
    assert sweep.num_trials == len(sweep.assignments()) == 6, "or it would never be finished"
    assert rerun_sweep(board, chosen[:1], seeds=4).identity == sweep.identity, "further seeds go on with it"
    few, many, gone = chosen
    first, second = sweep.seeds
    found = {(few, first): (0.5, 0.9), (few, second): (0.9, 0.5), (many, first): (0.6, 0.6), (many, second): (0.6, 0.7)}
    found[gone, first] = (1.0, 1.0)  # its other run diverged
    rows = {
        Assignment(case=case, seed=seed): record(data_free_score=score, validation_accuracy=accuracy)
        for (case, seed), (score, accuracy) in found.items()
    }
    results = CaseResults(sweep=sweep, sweep_id="again", rows=rows, others=[])
    assert pick(results, chosen, "data_free_score") == few
    assert pick(results, chosen, "validation_accuracy") == few
    with pytest.raises(SystemExit, match="there is nothing to pick"):
        pick(results, [gone], "data_free_score")
    rows[Assignment(case=many, seed=second)] = record(data_free_score=0.6, validation_accuracy=0.9)
    assert pick(results, chosen, "validation_accuracy") == many


def test_there_is_no_pick_by_what_was_not_measured(store: ObjectStore) -> None:
    write_search(store, "search-a")
    board = read_leaderboard(SweepStore(store, "search-a"))
    with pytest.raises(SystemExit, match="search-a: no completed trial has a probe_statistics_distance"):
        finalists(board, "probe_statistics_distance", 3)
