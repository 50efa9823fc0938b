"""What a sweep decides, on whole sweeps in this process: Ray has no part in it."""

from __future__ import annotations

import io
import os
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from optuna.trial import TrialState
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.chaos.comparison import TIMES
from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.cli import app
from orchestrator.commands.confirm import confirm, confirmation_sweep
from orchestrator.commands.rerun import rerun
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.monitor.status import SweepWatch
from orchestrator.results import read_reports, read_sweeps
from orchestrator.run.inline import InlineBackend
from orchestrator.search.distinct import ended_of_all
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage, layout
from tests.support.few_images import few_images
from tests.support.tiny import tiny_settings
from tests.support.whole_sweeps import INLINE, sweep_of, teacher_in, trials
from tests.support.whole_sweeps import run_inline as run
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits
from trainables.networks import build_network
from trainables.storage.students import StudentStore
from trainables.trial import TrialInputs


@pytest.fixture(autouse=True, scope="module")
def _few_images() -> Iterator[None]:
    with few_images():
        yield


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One storage for the module, so that the teacher is trained once."""
    return str(tmp_path_factory.mktemp("runs"))


FAILING_NETWORK = """
from torch import nn

class Fails(nn.Sequential):
    def __init__(self, num_classes, channels):
        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, num_classes))

    def forward(self, images):
        if len(images) > 2:
            raise ValueError("more than two images at once")
        return super().forward(images)
"""
"""A network that is tried out without a fault, on two images, and fails as soon as a trial begins."""


def test_a_space_that_is_used_up_ends_the_sweep_as_finished(tmp_path: Path, storage: str) -> None:
    space = {"student_steps": {"type": "categorical", "choices": [10, 20]}}
    file = tmp_path / "dups.yaml"
    file.write_text(yaml.safe_dump(sweep_of(storage, space=space, num_trials=6).model_dump(mode="json")))
    command = ["sweep", str(file), "--sweep-id", "dups", "--backend", "inline"]
    used_up = "all 2 settings of the space have been tried; 6 trials were asked for"
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert used_up in first.output.splitlines()
    assert "2 of 2 trials ended: 2 completed" in first.output
    events = read_sweeps(find_storage(storage), "dups")["event"].to_pylist()
    assert events[-1] == "finished"
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert used_up in again.output.splitlines()[0]
    assert read_sweeps(find_storage(storage), "dups")["event"].to_pylist() == events, "no session was needed"
    assert sorted(row["config_student_steps"] for row in trials(storage, "dups")) == [10, 20]
    status = CliRunner().invoke(app, ["status", "dups", "--storage", storage])
    assert "dups: finished" in status.output and "2 of 2 trials done" in status.output
    _, confirming = confirmation_sweep(read_leaderboard(SweepStore(find_storage(storage), "dups")), top=3, seeds=2)
    assert confirming.num_trials == 4


def mean_of(rows: list[dict[str, Any]], case: str) -> float:
    return statistics.fmean(row["validation_accuracy"] for row in rows if row["case"] == case)


@pytest.mark.parametrize("max_failures", [0, 1])
def test_failed_and_diverged_trials_are_rows_and_the_sweep_goes_on(
    storage: str, max_failures: int, tmp_path: Path
) -> None:
    (tmp_path / "fails.py").write_text(FAILING_NETWORK)
    choices = {"type": "categorical", "choices": ["lenet", f"{tmp_path / 'fails.py'}:Fails"]}
    rates = {"type": "categorical", "choices": [1e-3, 1e30]}
    space = {"student": choices, "student_lr": rates}
    trial = {"attention_weight": 0}
    sweep = sweep_of(storage, trial=trial, space=space, num_trials=8, max_failures=max_failures)
    name = f"failing-{max_failures}"
    run(sweep, name)
    rows = trials(storage, name)
    states = {(row["config_student"] == "lenet", row["config_student_lr"] > 1): row["state"] for row in rows}
    assert states == {
        (True, False): "completed",
        (True, True): "diverged",
        (False, False): "failed",
        (False, True): "failed",
    }
    told = [trial.state for trial in open_study(SweepStore(find_storage(storage), name), modes=["max"]).trials]
    assert told == [TrialState.COMPLETE if row["state"] == "completed" else TrialState.FAIL for row in rows]
    for row in rows:
        # Tune does not try a trial again that fails before it counts as running.
        assert row["recoveries"] <= (max_failures if row["state"] == "failed" else 0)
        if row["state"] == "failed":
            assert "more than two images at once" in row["error"]
            assert row["pseudo_batches"] is None
        elif row["state"] == "diverged":
            assert row["diverged"]
            assert row["pseudo_batches"] == 2


def test_the_same_command_runs_a_case_again_that_failed(storage: str) -> None:
    start = {"method": "supervised", "images_per_class": 1, "full_data_epochs": 1, "initial_student": "elsewhere/t0000"}
    sweep = SweepConfig.model_validate(
        {
            "name": "cases",
            "trial": {"dataset": "digits", "student": "lenet", "validation_fraction": 0.5},
            "cases": {"scratch": {**start, "initial_student": None}, "tuned": start},
            "storage": storage,
        }
    )
    run(sweep, "cases")
    assert [row["state"] for row in trials(storage, "cases")] == ["completed", "failed"]
    (config,) = [config for config in sweep.configs() if config.model_dump()["initial_student"]]
    weights = build_network("lenet", num_classes=10, channels=1).state_dict()
    StudentStore(find_storage(storage).below(layout.STUDENTS)).save(
        "elsewhere/t0000", weights, config.model_dump_json()
    )
    assert "1 ended before, 0 resume from their checkpoints, 1 are new, 1 of them because" in run(sweep, "cases")
    assert [row["state"] for row in trials(storage, "cases")] == ["completed", "failed", "completed"]
    board = read_leaderboard(SweepStore(find_storage(storage), "cases"))
    assert (board.states(), ended_of_all(board), board.errors()) == ({"completed": 2, "failed": 1}, "3 of 3", [])
    seen = SweepWatch(SweepStore(find_storage(storage), "cases")).look().view.trials
    states = {key: (trial.state, trial.earlier) for key, trial in seen.items()}
    assert states == {"t0000": ("completed", True), "t0001": ("failed", True), "t0002": ("completed", False)}
    assert "all of them have ended" in run(sweep, "cases")


def test_asha_stops_trials_and_the_study_knows(storage: str) -> None:
    # The objective is the learning rate's own size, so that no two trials are equal and luck decides nothing.
    rates = {"type": "float", "low": 1e-8, "high": 1e-2, "log": True}
    asha = {"name": "asha", "grace": 0.25, "reduction_factor": 2}
    sweep = sweep_of(
        storage,
        space={"student_lr": rates},
        scheduler=asha,
        trial={"total_pseudo_batches": 16},
        objective="student_lr",
        num_trials=8,
    )
    run(sweep, "halving")
    rows = trials(storage, "halving")
    stopped = [row for row in rows if row["state"] == "stopped_early"]
    assert stopped
    assert {row["state"] for row in rows} <= {"stopped_early", "completed"}
    assert all(row["pseudo_batches"] in {4, 8} for row in stopped)
    study = open_study(SweepStore(find_storage(storage), "halving"), modes=["max"])
    for row, told in zip(rows, study.trials, strict=True):
        assert told.state is (TrialState.PRUNED if row["state"] == "stopped_early" else TrialState.COMPLETE)
        assert max(told.intermediate_values) == row["pseudo_batches"]
    board = read_leaderboard(SweepStore(find_storage(storage), "halving"))
    assert SweepWatch(SweepStore(find_storage(storage), "halving")).look().view.best == (
        board.best and board.best.trial_id
    )
    again = rerun(board, stopped[0]["trial_id"], console=Console(file=io.StringIO()), backend=INLINE)
    assert again.now is not None
    assert (again.now.state, again.now.done) == ("stopped_early", stopped[0]["pseudo_batches"])
    assert again.different == {}


def test_a_search_is_confirmed_with_new_seeds_and_a_trial_repeated_bit_for_bit(storage: str) -> None:
    run(sweep_of(storage, num_trials=2), "searched")
    board = read_leaderboard(SweepStore(find_storage(storage), "searched"))
    quiet = Console(file=io.StringIO())
    again = rerun(board, "t0001", console=quiet, backend=INLINE)
    assert again.now is not None
    assert again.different == {}
    confirmed = confirm(board, top=1, seeds=2, console=quiet, backend=INLINE)
    assert confirmed.finished
    rows = trials(storage, "searched-confirm")
    assert [(row["case"], row["config_seed"]) for row in rows] == [
        ("baseline", 1),
        ("t0001", 1),
        ("baseline", 2),
        ("t0001", 2),
    ]
    assert all(row["state"] == "completed" for row in rows)
    assert confirmed.difference("t0001").n == 2
    assert confirmed.best == max(("baseline", "t0001"), key=lambda case: mean_of(rows, case))


def test_a_population_takes_over_from_its_best_and_its_rows_tell_what_was_used(storage: str) -> None:
    # The objective is the learning rate's own size: it falls with the cosine, alike for all, so the ranking is known.
    rates = {"type": "float", "low": 1e-8, "high": 1e-2, "log": True}
    pbt = {"name": "pbt", "population": 4, "generations": 2}
    whole = {"total_pseudo_batches": 8, "evaluation_interval": 2}
    sweep = sweep_of(
        storage, space={"student_lr": rates}, scheduler=pbt, trial=whole, objective="student_lr", num_trials=8
    )
    run(sweep, "population")
    rows = trials(storage, "population")
    first, second = rows[:4], rows[4:]
    assert {(row["state"], row["pseudo_batches"]) for row in first} == {("stopped_early", 4)}
    assert {(row["state"], row["pseudo_batches"]) for row in second} == {("completed", 8)}
    best, worst = (pick(first, key=lambda row: row["config_student_lr"])["trial_number"] for pick in (max, min))
    for before, after in zip(first, second, strict=True):
        of_worst = before["trial_number"] == worst
        assert after["config_initial_trial"] == rows[best if of_worst else before["trial_number"]]["trial_id"]
        assert (after["config_student_lr"] == before["config_student_lr"]) is not of_worst
        assert after["student_updates"] == 2 * 8  # with what was inherited
    reports = read_reports(find_storage(storage), "population").to_pylist()
    places = [(row["trial_id"], row["pseudo_batches"]) for row in reports]
    assert places == [
        *((f"t000{number}", done) for number in range(4) for done in (2, 4)),
        *((f"t000{number}", done) for number in range(4, 8) for done in (6, 8)),
    ]
    board = read_leaderboard(SweepStore(find_storage(storage), "population"))
    assert board.best and board.best.trial_number >= 4
    with pytest.raises(ConfigError, match="started from the state of"):
        rerun(board, "t0005", backend=INLINE)
    with pytest.raises(ConfigError, match="a sequence of settings"):
        confirm(board, top=1, seeds=2, backend=INLINE)


def test_a_budget_of_seconds_has_one_measure_for_all_trials_of_all_sessions(storage: str) -> None:
    steps = {"type": "int", "low": 1, "high": 20}
    trial = {"total_pseudo_batches": None, "evaluation_interval": None, "student_steps": None}
    fixed = {field: value for field, value in tiny_settings(validation_fraction=0.5).items() if field not in trial}
    sweep = sweep_of(
        storage,
        space={"student_steps": steps},
        budget={"unit": "seconds", "amount": 1, "reports": 2},
        num_trials=2,
    ).model_copy(update={"trial": fixed})
    printed = run(sweep, "timed")
    told = re.search(r"a trial may train for 1 s, at (\S+) GFLOP/s as measured here", printed)
    assert told
    Path(storage, "studies", "timed", "journal.log").unlink()  # the measure is not lost with the study
    assert "as measured here" not in run(sweep.model_copy(update={"num_trials": 4}), "timed")
    rows = trials(storage, "timed")
    assert [row["state"] for row in rows] == ["completed"] * 4
    costs = [row["training_flops"] / row["config_total_pseudo_batches"] * 1 for row in rows]
    work = [cost * row["config_total_pseudo_batches"] for cost, row in zip(costs, rows, strict=True)]
    assert max(work) - min(work) <= max(costs)  # but for whole pseudo batches
    assert abs(max(work) - float(told[1]) * 1e9) <= max(costs) + 0.01 * max(work)  # the rate has three digits


def test_a_budget_stops_a_sweep_in_time_and_a_larger_one_goes_on(tmp_path: Path, storage: str) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(yaml.safe_dump({"machines": {os.uname().nodename: {"on_demand": 3600}}}))
    sweep = sweep_of(storage, prices=str(prices), budget={"usd": 1e-6})
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    command = ["sweep", str(file), "--sweep-id", "frugal", "--backend", "inline"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "budget reached: " in first.output
    assert "With a larger one the same command resumes" in first.output
    (row,) = trials(storage, "frugal")
    assert row["state"] == "completed", "what runs comes to its end"
    assert row["gpu_seconds"] == 0
    # A dollar a second for the machine, of which a trial has one core, for as long as it trained at least.
    assert row["cost_usd"] >= 1 / (os.cpu_count() or 1) * (row["training_seconds"] + row["evaluation_seconds"])
    assert read_sweeps(find_storage(storage), "frugal")["event"].to_pylist()[-1] == "out of budget"
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert len(trials(storage, "frugal")) == 1, "what earlier sessions have spent counts"
    status = CliRunner().invoke(app, ["status", "frugal", "--storage", storage])
    assert "with its budget used up" in status.output
    run(load_sweep(str(file), flags={"budget": {"usd": 1000.0}}), "frugal")
    assert [row["state"] for row in trials(storage, "frugal")] == ["completed"] * 3


def test_a_limit_that_cannot_be_counted_is_refused(storage: str) -> None:
    with pytest.raises(ConfigError, match="no price is known of .* name it as prices:, or limit gpu_hours"):
        run(sweep_of(storage, budget={"usd": 5}), "unpriced")
    with pytest.raises(ConfigError, match="these trials take no GPU"):
        run(sweep_of(storage, budget={"gpu_hours": 5}), "no-gpu-hours")


def test_a_lost_study_is_made_anew_and_the_sweep_goes_on(storage: str) -> None:
    sweep = sweep_of(storage, num_trials=2)
    run(sweep, "lost")
    before = open_study(SweepStore(find_storage(storage), "lost"), modes=["max"]).trials
    Path(storage, "studies", "lost", "journal.log").unlink()
    printed = run(sweep.model_copy(update={"num_trials": 3}), "lost")
    assert "the study of lost was lost; rebuilt it with 2 trials" in printed
    after = open_study(SweepStore(find_storage(storage), "lost"), modes=["max"]).trials
    assert len(after) == 3
    for ours, theirs in zip(after, before, strict=False):
        assert (ours.params, ours.values, ours.intermediate_values) == (
            theirs.params,
            theirs.values,
            theirs.intermediate_values,
        )


def test_the_best_setting_again_gives_the_same_numbers(storage: str) -> None:
    from orchestrator.analysis.leaderboard import read_leaderboard

    sweep = sweep_of(storage, num_trials=4)
    run(sweep, "original")
    best = read_leaderboard(SweepStore(find_storage(storage), "original")).best
    assert best
    (original,) = (row for row in trials(storage, "original") if row["trial_id"] == best.trial_id)
    again = sweep_of(storage, trial={"temperature": best.settings["temperature"]}, num_trials=1)
    run(again, "original-best")
    (row,) = trials(storage, "original-best")
    ignored = {"trial_id", "trial_number"}
    assert {k: v for k, v in row.items() if k not in TIMES | ignored} == {
        k: v for k, v in original.items() if k not in TIMES | ignored
    }


def test_a_sweep_whose_trials_all_fail_says_why_and_fails(tmp_path: Path, storage: str) -> None:
    (tmp_path / "fails.py").write_text(FAILING_NETWORK)
    trial = {"student": f"{tmp_path / 'fails.py'}:Fails", "attention_weight": 0}
    sweep = sweep_of(storage, trial=trial, space={}, num_trials=1, max_failures=1)
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    result = CliRunner().invoke(app, ["sweep", str(file), "--sweep-id", "hopeless", "--backend", "inline"])
    assert result.exit_code == 1
    assert "failed because of: " in result.output and "more than two images at once" in result.output
    board = read_leaderboard(SweepStore(find_storage(storage), "hopeless"))
    for _ in range(2):  # it runs each time
        again = rerun(board, "t0000", console=Console(file=io.StringIO()), backend=INLINE)
        assert again.conclusion().startswith("It failed again: ")
        assert "more than two images at once" in again.conclusion()
    assert len(trials(storage, "hopeless-t0000")) == 2


def splits_in(inputs: TrialInputs) -> DatasetSplits:
    (splits,) = inputs.splits.values()
    return splits


def test_what_trials_share_follows_from_the_trials_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dead knobs among the fields that decide data and teacher; and the same fields give the same teacher again."""
    monkeypatch.setattr("orchestrator.inputs.files.load_dataset", load_dataset)  # all images: their number is asked for
    # The module's storage may hold this teacher with its accuracy on few images.
    storage = str(tmp_path / "runs")
    said: list[str] = []

    def prepared(**changes: Any) -> TrialInputs:
        return prepare_inputs(
            sweep_of(storage, trial=changes), find_storage(storage), tasks=InlineBackend(), say=said.append
        )

    base = prepared()
    changes: list[dict[str, Any]] = [{"split_seed": 1}, {"validation_fraction": 0.4}, {"normalisation": "unit"}]
    trained = [prepared(**change) for change in (*changes, {"teacher_seed": 1})]
    checksums = {teacher_in(inputs).metadata.sha256 for inputs in (base, *trained)}
    assert len(checksums) == 5
    assert [len(splits_in(inputs).validation) for inputs in (base, *trained)] == [2000, 2000, 1600, 2000, 2000]
    assert not torch.equal(splits_in(base).validation.images, splits_in(trained[0]).validation.images)
    # A zero-shot trial is not even given the training images.
    assert len(splits_in(base).train) == 0
    assert teacher_in(trained[2]).metadata.normalisation == "unit"
    said.clear()
    assert teacher_in(prepared()).metadata == teacher_in(base).metadata
    assert not any("training" in line for line in said)
    published = tmp_path / "published.pt"
    torch.save({"state_dict": dict(teacher_in(base).weights)}, published)
    loaded = teacher_in(prepared(teacher_checkpoint=str(published))).metadata
    assert loaded.source == "published.pt"
    assert loaded.test_accuracy == teacher_in(base).metadata.test_accuracy


def test_another_teacher_under_the_same_name_is_refused(tmp_path: Path, storage: str) -> None:
    inputs = prepare_inputs(sweep_of(storage), find_storage(storage), tasks=InlineBackend(), say=lambda _: None)
    published = tmp_path / "published.pt"
    torch.save(dict(teacher_in(inputs).weights), published)
    sweep = sweep_of(storage, trial={"teacher_checkpoint": str(published)}, num_trials=1)
    run(sweep, "replaced")
    torch.save({key: value * 1.001 for key, value in teacher_in(inputs).weights.items()}, published)
    with pytest.raises(SweepMismatchError, match="began with another teacher lenet"):
        run(sweep.model_copy(update={"num_trials": 2}), "replaced")
    assert len(trials(storage, "replaced")) == 1
