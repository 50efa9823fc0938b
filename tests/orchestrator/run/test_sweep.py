"""Whole sweeps on Ray: tiny trials, real search, real processes that are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from benchmarks.chaos.comparison import differences, own_trial_processes
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import read_reports, read_sweeps
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage, layout
from tests.support.whole_sweeps import run, sweep_of, trials
from trainables.errors import TeacherError
from trainables.metrics import METRICS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One storage for the module, so that the teacher is trained once."""
    return str(tmp_path_factory.mktemp("runs"))


@pytest.mark.usefixtures("ray_local")
def test_a_sweep_from_teacher_to_leaderboard(storage: str) -> None:
    space = {"student_steps": {"type": "int", "low": 1, "high": 12}}
    printed = run(sweep_of(storage, space=space, tensorboard=True), "whole")
    rows = trials(storage, "whole")
    assert [row["trial_id"] for row in rows] == ["t0000", "t0001", "t0002"]
    assert rows[0]["config_student_steps"] == 10
    for row in rows:
        assert row["state"] == "completed"
        assert row["pseudo_batches"] == row["config_total_pseudo_batches"] == 4
        assert row["student_updates"] == row["pseudo_batches"] * row["config_student_steps"]
        assert row["generator_updates"] == row["pseudo_batches"] * row["config_generator_steps"]
        assert row["objective"] == row["validation_accuracy"]
        assert row["config_seed"] == 0
        assert row["threads"] == 1
        assert row["teacher_test_accuracy"] > 0.8
    store = find_storage(storage)
    reports = read_reports(store, "whole").to_pylist()
    assert [(row["trial_id"], row["pseudo_batches"]) for row in reports] == [
        (f"t000{number}", done) for number in range(3) for done in (2, 4)
    ]
    for row in rows:
        last = next(r for r in reports if r["trial_id"] == row["trial_id"] and r["pseudo_batches"] == 4)
        assert all(row[metric.name] == last[metric.name] for metric in METRICS)
    study = open_study(SweepStore(store, "whole"), modes=["max"])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert [trial.value for trial in study.trials] == [row["validation_accuracy"] for row in rows]
    assert read_sweeps(store, "whole")["event"].to_pylist() == ["started", "finished"]
    assert "training the teacher" in printed and "teacher lenet on digits" in printed
    assert {key.split("/")[2] for key in store.keys("tensorboard/whole")} == {row["trial_id"] for row in rows}
    tables = [key for table in ("trials", "reports") for key in store.keys(f"results/v1/{table}")]
    assert not [key for key in tables if "/t0" in key], "compacted at the end"
    pictures = store.keys("results/v1/snapshots/sweep_id=whole")
    assert [key[-24:] for key in pictures] == [
        f"t000{number}-000000000{done}.parquet" for number in range(3) for done in (2, 4)
    ]


@pytest.mark.usefixtures("ray_local")
def test_the_same_command_again_does_nothing_and_more_trials_extend(storage: str) -> None:
    sweep = sweep_of(storage)
    run(sweep, "extended")
    before = trials(storage, "extended")
    printed = run(sweep, "extended")
    assert "all of them have ended" in printed
    assert "training the teacher" not in run(sweep.model_copy(update={"num_trials": 5}), "extended")
    after = trials(storage, "extended")
    assert len(after) == 5
    assert after[:3] == before
    with pytest.raises(SweepMismatchError, match=r"began with other settings:\n  seed: 0 then, 1 now"):
        run(sweep.model_copy(update={"seed": 1}), "extended")


@pytest.mark.usefixtures("ray_local")
def test_a_killed_worker_changes_no_number(storage: str) -> None:
    trial = {"total_pseudo_batches": 60, "student_steps": 10, "batch_size": 16}
    sweep = sweep_of(storage, trial=trial, num_trials=2, checkpoint_seconds=0, checkpoints_kept=3)
    run(sweep, "calm")
    kept = find_storage(storage).below(layout.checkpoint_folder("calm")).keys("t0000")
    assert [int(Path(key).stem) for key in kept] == [56, 58, 60]
    folder = Path(storage, "checkpoints", "killed")
    killed = threading.Event()

    def kill_once() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed.is_set():
            if list(folder.glob("t0000/*.safetensors")) and not list(folder.glob("t0000/*60.safetensors")):
                for process in own_trial_processes():
                    os.kill(process, signal.SIGKILL)
                    killed.set()
            time.sleep(0.01)

    killer = threading.Thread(target=kill_once)
    killer.start()
    run(sweep, "killed")
    killer.join()
    assert killed.is_set()
    rows = trials(storage, "killed")
    assert sum(row["recoveries"] for row in rows) >= 1
    assert differences(rows, trials(storage, "calm")) == []
    reports = [read_reports(find_storage(storage), name).to_pylist() for name in ("killed", "calm")]
    assert differences(*reports) == []


@pytest.mark.usefixtures("ray_local")
def test_a_hung_worker_is_ended_and_its_trial_goes_on_with_the_same_numbers(storage: str) -> None:
    trial = {"total_pseudo_batches": 60, "student_steps": 10, "batch_size": 16, "evaluation_interval": 6}
    sweep = sweep_of(
        storage,
        trial=trial,
        num_trials=1,
        checkpoint_seconds=0,
        max_failures=1,
        hung={"intervals": 1, "at_least_seconds": 3},
    )
    run(sweep, "lively")
    folder = Path(storage, "checkpoints", "hanging", "t0000")
    stopped: list[int] = []

    def stop_once() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not stopped:
            for process in own_trial_processes() if list(folder.glob("*.safetensors")) else ():
                os.kill(process, signal.SIGSTOP)
                # In mid-training, or nobody judges it: what it does otherwise may take its time.
                if Path(os.environ["ZSKT_PRIVATE_FOLDER"], f"alive-{process}-t0000").exists():
                    stopped.append(process)
                else:
                    os.kill(process, signal.SIGCONT)
            time.sleep(0.01)

    stopper = threading.Thread(target=stop_once)
    stopper.start()
    printed = run(sweep, "hanging")
    stopper.join()
    assert stopped
    assert "after: it hung: no heartbeat for" in printed
    rows = trials(storage, "hanging")
    assert [(row["state"], row["recoveries"]) for row in rows] == [("completed", 1)]
    assert differences(rows, trials(storage, "lively")) == []


@pytest.mark.usefixtures("ray_local")
def test_what_cannot_run_is_known_before_a_trial_starts(storage: str) -> None:
    with pytest.raises(ConfigError, match="run with --gpus 0"):
        run(sweep_of(storage).with_resources(gpu=1), "nogpu")
    with pytest.raises(ConfigError, match="unknown space 'nowhere'"):
        run(sweep_of(storage).model_copy(update={"space": "nowhere"}), "nowhere")
    assert trials(storage, "nogpu") == []


@pytest.mark.usefixtures("ray_local")
def test_a_teacher_that_is_refused_is_so_without_rays_stack_trace(storage: str) -> None:
    sweep = sweep_of(storage, teacher_recipe={"full_data_epochs": 1, "learning_rate": 1e-9})
    with pytest.raises(TeacherError, match=r"^teacher lenet \(trained\) has .* test accuracy"):
        run(sweep, "weak")
