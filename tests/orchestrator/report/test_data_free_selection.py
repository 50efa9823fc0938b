"""The tables of ``benchmarks/data_free_selection.py`` and what ``data_free_picks`` chooses, from sweeps that nobody ran."""

from __future__ import annotations

import pytest

from benchmarks.data_free_picks import finalists, pick
from benchmarks.data_free_selection import completed, table_of_moments, table_of_scores
from orchestrator.case_results import CaseResults
from orchestrator.config import Assignment, SweepConfig
from orchestrator.leaderboard import read_leaderboard
from orchestrator.results import ResultWriter
from tests.orchestrator.report.synthetic import write_search
from tests.orchestrator.test_results import trial
from trainables.object_store import ObjectStore


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
    write_search(store, "search-a")
    (entry, *_) = completed(store, ["search-a"])
    assert entry.at(1.0, "divergence") == -(entry.trial.at(1.0, "divergence") or 0)
    assert entry.at(1.0, "not_measured") == -float("inf"), "nothing is worse"


def test_what_cannot_be_compared_is_refused(store: ObjectStore) -> None:
    write_search(store, "search-a")
    writer = ResultWriter(store, "search-a")
    writer.write_trial(trial("t0090", teacher_sha256="cd"))
    with pytest.raises(SystemExit, match="2 teachers; scores of one teacher's students compare"):
        completed(store, ["search-a"])


def test_each_side_picks_by_what_it_goes_by(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=12)
    board = read_leaderboard(store, "search-a")
    chosen = finalists(board, "validation_accuracy", 3)
    values = [row["validation_accuracy"] for row in board.candidates if row is not board.published]
    assert [row["validation_accuracy"] for row in chosen] == sorted(values, reverse=True)[:3]
    few, many = (row["trial_id"] for row in chosen[:2])
    cases = {few: {"student_steps": 2}, many: {"student_steps": 9}}
    sweep = SweepConfig.model_validate({"name": "again", "cases": cases, "seeds": [1, 2]})
    found = {(few, 1): (0.5, 0.9), (few, 2): (0.9, 0.5), (many, 1): (0.6, 0.6), (many, 2): (0.6, 0.7)}
    rows = {
        Assignment(case=case, seed=seed): {"data_free_score": score, "validation_accuracy": accuracy}
        for (case, seed), (score, accuracy) in found.items()
    }
    results = CaseResults(sweep=sweep, rows=rows, others=[])
    assert pick(results, chosen[:2], "data_free_score") == few
    assert pick(results, chosen[:2], "validation_accuracy") == few
    rows[Assignment(case=many, seed=2)]["validation_accuracy"] = 0.9
    assert pick(results, chosen[:2], "validation_accuracy") == many
