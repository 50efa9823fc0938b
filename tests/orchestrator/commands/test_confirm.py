from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.analysis.cases import CaseResults
from orchestrator.analysis.confirmation import Confirmation
from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import TrialRecord
from tests.support.confirmations import BOARD, SEARCH, SEARCHED, record_of, row
from tests.support.records import record
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig


def test_the_best_few_and_the_published_settings_run_with_seeds_that_the_search_has_not_seen() -> None:
    sweep_id, sweep = confirmation_sweep(BOARD, top=2, seeds=3)
    assert sweep_id == "search-1a2b3c4d-confirm"
    published = {"generator_steps": 1, "student_steps": 10, "temperature": 1.0}
    assert sweep.cases == {
        "baseline": published,
        "t0005": {**published, "student_steps": 15},
        "t0003": {**published, "temperature": 2.0},
    }
    assert sweep.seeds == [8, 9, 10]
    assert (sweep.scale, sweep.storage.uri, sweep.teacher_recipe) == (0.5, "./elsewhere", {"full_data_epochs": 20})
    assert sweep.scheduler.name == "none"
    assert {config.seed for config in sweep.configs()} == {8, 9, 10}
    # But for its seed, a trial is the one that the search had.
    again, then = sweep.configs()[1], BOARD.rows[0].config
    assert again.model_dump(exclude={"seed"}) == then.model_dump(exclude={"seed"})


def test_seeds_that_the_search_fixed_apart_are_drawn_anew_but_for_the_teachers() -> None:
    fixed = {**SEARCH.trial, "seed": 0, "generator_seed": 3, "student_seed": 5, "teacher_seed": 4}
    search = SweepConfig.model_validate(
        {"name": "search", "trial": fixed, "space": "step_ratio_temperature", "seed": 9}
    )
    _, sweep = confirmation_sweep(replace(BOARD, sweep=search), top=1, seeds=2)
    assert sweep.seeds == [6, 7]
    assert {c.teacher_seed for c in sweep.configs()} == {4}
    zero_shot = [c for c in sweep.configs() if isinstance(c, ZeroShotConfig)]
    assert {(c.generator_seed, c.student_seed) for c in zero_shot} == {(None, None)}


def test_trials_of_an_equal_budget_keep_the_length_that_it_gave_them() -> None:
    budget = {"unit": "student_updates", "amount": 400}
    search = SweepConfig.model_validate({"name": "search", "trial": SEARCH.trial, "space": {}, "budget": budget})
    config = search.trial_config({"student_steps": 20})
    rows = [record_of(config, trial_id) for trial_id in ("t0000", "t0001")]
    board = Leaderboard(sweep_id="a", sweep=search, searched=["student_steps"], rows=rows)
    _, sweep = confirmation_sweep(board, top=1, seeds=2)
    assert {case: trial["total_pseudo_batches"] for case, trial in sweep.cases.items()} == {"baseline": 40, "t0000": 20}


def test_trials_of_a_budget_in_seconds_get_their_share_by_the_speed_that_the_search_measured() -> None:
    budget = {"unit": "seconds", "amount": 100}
    values = {"name": "search", "trial": SEARCH.trial, "space": "step_ratio_temperature", "budget": budget}
    unknown = SweepConfig.model_validate(values)
    search = unknown.with_speed(1e12)
    config = search.trial_config({"student_steps": 20})
    board = Leaderboard(sweep_id="a", sweep=search, searched=["student_steps"], rows=[record_of(config, "t0001")])
    _, sweep = confirmation_sweep(board, top=1, seeds=2)
    published, best = sweep.configs()[:2]
    work = [c.budget * step_flops(c) for c in (published, best) if isinstance(c, ZeroShotConfig)]
    assert work == pytest.approx([100e12, 100e12], rel=0.01)
    with pytest.raises(ConfigError, match="did not store its machines' speed"):
        confirmation_sweep(replace(board, sweep=unknown), top=1, seeds=2)


NOTHING: dict[str, list[TrialRecord]] = {
    "none": [],
    "published": [row(0)],
    "published again": [row(0), row(1), row(2, "stopped_early")],
    "without a number": [row(0), replace(row(1, "stopped_early", student_steps=3), objective=None)],
    "out of bounds": [row(0), replace(row(1, student_steps=3), feasible=False)],
    "failed": [row(0), row(1, "failed", student_steps=3)],
}


@pytest.mark.parametrize("rows", NOTHING.values(), ids=NOTHING)
def test_nothing_to_confirm_is_said_with_what_can_be_done(rows: list[TrialRecord]) -> None:
    board = Leaderboard(sweep_id="a", sweep=SEARCH, searched=SEARCHED, rows=rows)
    with pytest.raises(ConfigError, match="^a: no trial with other settings.* yet; resume the sweep"):
        confirmation_sweep(board, top=1, seeds=2)
    with pytest.raises(ConfigError, match="and the sweep has finished.*--num-trials") as caught:
        confirmation_sweep(replace(board, finished=True), top=1, seeds=2)
    assert "go on" not in str(caught.value)


def test_equal_settings_are_confirmed_once_and_the_published_ones_as_the_baseline() -> None:
    rows = [row(3, student_steps=15), row(1), row(4, student_steps=15), row(2, temperature=2.0), row(0)]
    board = Leaderboard(sweep_id="a", sweep=SEARCH, searched=SEARCHED, rows=rows)
    _, sweep = confirmation_sweep(board, top=3, seeds=2)
    assert list(sweep.cases) == ["baseline", "t0003", "t0002"]
    assert (len(sweep.configs()), sweep.num_trials) == (6, 6)


def test_what_was_stopped_early_is_confirmed_behind_what_used_its_whole_budget() -> None:
    rows = [row(0), row(2, student_steps=15), *(row(n, "stopped_early", student_steps=n) for n in (7, 6, 5))]
    board = Leaderboard(sweep_id="a", sweep=SEARCH, searched=SEARCHED, rows=rows)
    _, sweep = confirmation_sweep(board, top=3, seeds=2)
    assert list(sweep.cases) == ["baseline", "t0002", "t0007", "t0006"]
    alone = replace(board, rows=[row(0), row(7, "stopped_early", student_steps=7)])
    assert list(confirmation_sweep(alone, top=3, seeds=2)[1].cases) == ["baseline", "t0007"]
    assert {config.budget for config in confirmation_sweep(alone, top=3, seeds=2)[1].configs()} == {40_000}


def test_a_list_of_cases_has_no_winner() -> None:
    sweep = SweepConfig.model_validate({"name": "a", "cases": {"one": {}}})
    with pytest.raises(ConfigError, match="no winner to confirm"):
        confirmation_sweep(Leaderboard(sweep_id="a", sweep=sweep, searched=[], rows=[]), top=1, seeds=2)


def confirmation(values: dict[str, list[float]], *, maximise: bool = True) -> Confirmation:
    sweep_id, sweep = confirmation_sweep(BOARD, top=2, seeds=3)
    rows = {
        assignment: record(validation_accuracy=values[assignment.case][assignment.seed - 8], test_accuracy=0.5)
        for assignment in sweep.assignments()
        if assignment.case in values
    }
    return Confirmation(
        sweep=sweep,
        sweep_id=sweep_id,
        finished=True,
        results=CaseResults(sweep=sweep, sweep_id=sweep_id, rows=rows, others=[]),
        search=BOARD.sweep.model_copy(update={"mode": "max" if maximise else "min"}),
    )


def printed(found: Confirmation) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(found.table())
    return capture.get()


def test_a_winner_is_told_with_its_interval() -> None:
    found = confirmation({"baseline": [0.80, 0.82, 0.81], "t0005": [0.90, 0.92, 0.905], "t0003": [0.79, 0.80, 0.83]})
    assert found.best == "t0005"
    assert "t0005 (generator_steps=1, student_steps=15, temperature=1.0) is better" in found.conclusion()
    lines = printed(found).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["published", "t0005", "t0003"]
    assert "better than published by [95 % for all 2 at once] sure it is better (2 at once)" in lines[0]
    assert "validation_accuracy, mean ± std (population)" in lines[0]
    assert "+9.83 [+8.80, +10.87]" in lines[2]
    assert "100%" in lines[2]
    assert "-0.33 [" in lines[3]


def test_a_lucky_trial_is_not_taken_for_a_better_one() -> None:
    found = confirmation({"baseline": [0.80, 0.90, 0.85], "t0005": [0.90, 0.82, 0.87], "t0003": [0.7, 0.7, 0.7]})
    assert found.best == "t0005"
    assert "may be no better" in found.conclusion()


def test_how_sure_a_winner_is_allows_for_the_choice_among_all_that_ran() -> None:
    values = {"baseline": [0.80, 0.82, 0.81], "t0005": [0.90, 0.92, 0.86], "t0003": [0.79, 0.80, 0.83]}
    both = confirmation(values)
    alone = replace(
        both, sweep=both.sweep.model_copy(update={"cases": {c: both.sweep.cases[c] for c in values if c != "t0003"}})
    )
    assert alone.sureness == "sure it is better"
    doubt, of_one = (1 - found.difference("t0005").confidence_above for found in (both, alone))
    assert doubt == pytest.approx(2 * of_one)


def test_where_nothing_beats_the_published_settings_that_is_said() -> None:
    worse = {"baseline": [0.9, 0.9, 0.9], "t0005": [0.8, 0.8, 0.8], "t0003": [0.7, 0.7, 0.7]}
    assert "None of these settings is better" in confirmation(worse).conclusion()
    assert confirmation(worse, maximise=False).best == "t0003"  # of a loss the smallest is best
    assert confirmation(worse, maximise=False).difference("t0003").mean == pytest.approx(0.2)


@pytest.mark.parametrize("metric", ["test_accuracy", "mean_transition_error"])
def test_a_search_that_chose_on_test_images_has_no_audit(metric: str) -> None:
    found = confirmation({"baseline": [0.80, 0.82, 0.81], "t0005": [0.9, 0.9, 0.9], "t0003": [0.7, 0.7, 0.7]})
    assert "audit" in printed(found) and "test data" not in found.conclusion()
    search = found.search.model_copy(update={"constraints": {metric: None}})
    chosen = replace(found, search=search)
    assert "audit" not in printed(chosen)
    assert "The search chose on test data, so none of these numbers is an audit." in chosen.conclusion()


def test_an_objective_that_is_no_share_is_not_told_in_percent() -> None:
    found = confirmation({"baseline": [0.80, 0.82, 0.81], "t0005": [0.9, 0.9, 0.9], "t0003": [0.7, 0.7, 0.7]})
    losses = {
        a: record(test_accuracy=0.5, student_loss=3 * row.metrics["validation_accuracy"])
        for a, row in found.results.rows.items()
    }
    search = found.search.model_copy(update={"objective": "student_loss", "mode": "min"})
    of_loss = replace(found, search=search, results=replace(found.results, rows=losses))
    line = printed(of_loss).splitlines()[-1]
    assert "2.1 ± " in line
    assert "+0.33 [" in line
    assert "50.00%" in line  # the audit is one all the same
