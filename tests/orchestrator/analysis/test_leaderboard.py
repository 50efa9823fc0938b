from __future__ import annotations

import io
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from orchestrator.analysis.leaderboard import Leaderboard, read_leaderboard
from orchestrator.commands.rerun import rerun_command
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import SweepNotFoundError
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.sessions import session_row
from orchestrator.search.distinct import ended_of_all
from orchestrator.storage import SweepStore
from tests.support.leaderboards import SWEEP, write
from tests.support.rows import NOW
from trainables.storage.object_store import ObjectStore


def test_whole_budgets_come_first_then_the_objective_then_what_failed(store: ObjectStore) -> None:
    rows: list[dict[str, Any]] = [
        {"objective": 0.90, "state": "completed"},
        {"objective": 0.99, "state": "stopped_early", "pseudo_batches": 30},
        {"objective": 0.95, "state": "completed"},
        {"objective": None, "state": "failed"},
        {"objective": float("nan"), "state": "diverged"},
    ]
    write(store, rows)
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert [row.trial_id for row in board.rows] == ["t0002", "t0000", "t0001", "t0004", "t0003"]
    assert board.best and board.best.trial_id == "t0002"
    assert board.states() == {"completed": 2, "stopped_early": 1, "diverged": 1, "failed": 1}


def test_of_those_stopped_the_further_one_comes_first_and_at_equal_budgets_the_better_one(store: ObjectStore) -> None:
    stopped = [(0.80, 35), (0.70, 105), (0.90, 35), (0.99, 10), (None, 105)]
    rows = [
        {"objective": value, "state": "stopped_early", "pseudo_batches": done, "config_student_steps": 11 + number}
        for number, (value, done) in enumerate(stopped)
    ]
    write(store, rows)
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert [row.trial_id for row in board.rows] == ["t0001", "t0004", "t0002", "t0000", "t0003"]
    assert board.best is None
    assert [row.trial_id for row in board.contenders] == ["t0001", "t0002", "t0000", "t0003"]


def test_a_sweep_that_has_finished_has_all_its_trials_and_says_why_none_is_best(store: ObjectStore) -> None:
    rows: list[dict[str, Any]] = [
        {"objective": 0.9, "feasible": False},
        {"objective": 0.8, "state": "stopped_early"},
        {"objective": None, "state": "failed"},
    ]
    write(store, rows)
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert (ended_of_all(board), board.finished) == ("3 of 12", False)
    assert board.without_best == "no trial has used its whole budget and kept the constraints yet"
    ResultWriter(SweepStore(store, "sweep-a")).write_session(
        session_row(SWEEP, [], number=0, event=SessionEvent.FINISHED, cpus=2, gpus=0)
    )
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert (ended_of_all(board), board.finished) == ("3 of 3", True)
    assert board.without_best == (
        "it has finished, but none of its trials used its whole budget and kept the constraints "
        "(1 broke a constraint, 1 stopped early, 1 failed)"
    )


def test_smaller_can_be_better(store: ObjectStore) -> None:
    sweep = SWEEP.model_copy(update={"objective": "student_loss", "mode": "min"})
    write(store, [{"objective": 0.9}, {"objective": 0.1}], sweep)
    best = read_leaderboard(SweepStore(store, "sweep-a")).best
    assert best and best.trial_id == "t0001"


def test_trials_outside_of_the_constraints_come_after_those_within(store: ObjectStore) -> None:
    bounds = {"constraints": {"training_flops": {"at_most": 100.0}}}
    sweep = SweepConfig.model_validate(SWEEP.model_dump() | bounds)
    write(store, [{"objective": 0.9, "feasible": False}, {"objective": 0.7, "feasible": True}], sweep)
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert board.best and board.best.trial_id == "t0001"
    assert [row.trial_id for row in board.rows] == ["t0001", "t0000"]
    assert "out of bounds" in printed(board)


def test_several_objectives_have_a_pareto_front(store: ObjectStore) -> None:
    sweep = SweepConfig.model_validate(SWEEP.model_dump() | {"further_objectives": {"training_flops": "min"}})
    points = [(0.9, 3e9), (0.8, 1e9), (0.8, 2e9), (0.95, 3e9), (0.7, 5e8)]
    write(store, [{"objective": a, "validation_accuracy": a, "training_flops": f} for a, f in points], sweep)
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    assert [row.trial_id for row in board.front] == ["t0003", "t0001", "t0004"]
    assert "Pareto front with training_flops" in str(board.table().title)
    marked = [line.split()[1] for line in printed(board).splitlines() if "*" in line.split()[1]]
    assert marked == ["t0003*", "t0001*", "t0004*"]


def printed(board: Leaderboard) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(board.table())
    return out.getvalue()


@pytest.mark.parametrize(
    "selection",
    [
        {"objective": "test_accuracy"},
        {"further_objectives": {"test_accuracy": "max"}},
        {"constraints": {"test_accuracy": {"at_least": 0.5}}},
        {"constraints": {"mean_transition_error": {"at_most": 0.5}}},
    ],
)
def test_a_choice_by_test_images_says_so(selection: dict[str, Any], store: ObjectStore) -> None:
    trial = {**SWEEP.trial, "transition_images": 9}
    sweep = SweepConfig.model_validate(
        {**SWEEP.model_dump(), "trial": trial, "allow_test_selection": True, **selection}
    )
    write(store, [{"objective": 0.9}], sweep)
    assert "selected on test data" in str(read_leaderboard(SweepStore(store, "sweep-a")).table().title)


def test_a_sweep_that_chose_on_test_images_before_that_was_refused_is_still_read_and_says_so(
    store: ObjectStore,
) -> None:
    bounded = {"constraints": {"mean_transition_error": {"at_most": 0.5}}, "allow_test_selection": True}
    trial = {**SWEEP.trial, "transition_images": 9}
    allowed = SweepConfig.model_validate({**SWEEP.model_dump(), "trial": trial, **bounded})
    write(store, [{"objective": 0.9}], allowed.model_copy(update={"allow_test_selection": False}))
    assert "selected on test data" in str(read_leaderboard(SweepStore(store, "sweep-a")).table().title)


def test_the_table_fits_a_terminal_of_80_columns(store: ObjectStore) -> None:
    row = {
        "config_temperature": 2.345678,
        "validation_accuracy": 0.97123,
        "state": "stopped_early",
        "pseudo_batches": 35,
    }
    write(store, [row])
    out = io.StringIO()
    Console(file=out, width=80).print(read_leaderboard(SweepStore(store, "sweep-a")).table())
    lines = out.getvalue().splitlines()
    cells = lines[-1].split()
    assert cells == ["1", "t0000", "1", "10", "2.346", "97.12%", "50.00%", "stopped", "at", "25%", "1", "s"]


def test_the_best_setting_as_a_command_gives_the_same_config(store: ObjectStore) -> None:
    changes = {"config_generator_steps": 3, "config_temperature": 2.946289339659601, "config_seed": 4}
    settings = {"seed": 4, "storage": StorageConfig(uri="/a b"), "objective": "data_free_score"}
    write(store, [changes], SWEEP.model_copy(update=settings))
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    command = rerun_command(board, "python run_sweep.py", "quickstart")
    assert command and board.best
    words = shlex.split(command)
    assert words[:3] == ["python", "run_sweep.py", "quickstart"]
    assert words[words.index("--storage") + 1] == "/a b"
    assert words[words.index("--objective") + 1] == "data_free_score"
    assignments = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    again = load_sweep("quickstart", assignments=assignments).trial_config({})
    assert again.model_dump() == {name: board.best.settings[name] for name in type(again).model_fields}
    assert "dataset" not in command  # the preset says so already


def test_a_file_that_only_flags_made_a_sweep_fails_no_report_of_it(store: ObjectStore, tmp_path: Path) -> None:
    file, trial = tmp_path / "one.yaml", {"dataset": "digits", "teacher": "lenet", "student": "lenet"}
    write(store, [{}])
    board = read_leaderboard(SweepStore(store, "sweep-a"))
    # As sweep FILE --num-trials 1 ran it, and the command again has that flag as well.
    file.write_text(yaml.safe_dump({"name": "one", "trial": trial, "num_trials": 12}))
    command = rerun_command(board, "zskt sweep", str(file))
    assert command and command.startswith(f"zskt sweep {file} --num-trials 1 ")
    # As sweep FILE --objective validation_accuracy ran it.
    file.write_text(yaml.safe_dump({"name": "one", "trial": trial, "objective": "no_such_metric"}))
    assert rerun_command(board, "zskt sweep", str(file)) is None
    file.unlink()
    assert rerun_command(board, "zskt sweep", str(file)) is None


def test_no_trial_with_a_whole_budget_means_no_best(store: ObjectStore) -> None:
    write(store, [{"state": "stopped_early"}])
    assert rerun_command(read_leaderboard(SweepStore(store, "sweep-a")), "x", "quickstart") is None


def test_an_unknown_sweep_names_those_that_are_there(store: ObjectStore) -> None:
    with pytest.raises(SweepNotFoundError, match="no sweep sweep-b in this storage; there: none"):
        read_leaderboard(SweepStore(store, "sweep-b"))
    write(store, [{"ended_at": NOW + timedelta(seconds=1)}])
    with pytest.raises(SweepNotFoundError, match="there: sweep-a"):
        read_leaderboard(SweepStore(store, "sweep-b"))
