"""One trial in this process: reports, checkpoints, failures. Without Ray."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support.simulated import SimulatedClock
from tests.support.trial_runs import config, numbers, same, start
from trainables.storage.checkpoint import CheckpointStore, StateCopy
from trainables.storage.object_store import ObjectStore
from trainables.storage.students import StudentStore
from trainables.training.distiller import ZeroShotDistiller
from trainables.trial import RunningTrial, TrialStorage
from trainables.trial_result import Place
from trainables.trial_run import TrialRun

TIMES = ("training_seconds", "evaluation_seconds")


def running(run: TrialRun) -> RunningTrial:
    assert isinstance(run.trial, RunningTrial)
    return run.trial


def weights(run: TrialRun) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in running(run).training.student.state_dict().items()}


@pytest.fixture
def storage(store: ObjectStore) -> TrialStorage:
    return TrialStorage(
        sweep_id="sweep-a",
        checkpoints=CheckpointStore(store),
        students=StudentStore(store.below("students")),
        curves=store.below("curves"),
        snapshots=store.below("snapshots"),
    )


def test_a_trial_takes_over_from_another_one_once(storage: TrialStorage) -> None:
    parts = {"learning_rate_horizon": 4, "evaluation_interval": 2}
    first = start(config("t0001", total_pseudo_batches=2, **parts), storage)
    first.step()
    second = start(config("t0002", student_lr=1e-4, initial_trial="t0001", **parts), storage)
    assert same(weights(second), weights(first))
    assert second.step()["pseudo_batches"] == 4
    again = start(config("t0002", student_lr=1e-4, initial_trial="t0001", **parts), storage)
    assert same(weights(again), weights(second)), "what it has saved itself goes before what it began with"
    orphan = start(config("t0003", initial_trial="t0009", **parts), storage).step()
    assert orphan["failure"].startswith("CheckpointError: initial_trial=t0009: this sweep has no checkpoint of it")


@pytest.mark.parametrize("error", [OSError("disk"), torch.AcceleratorError("GPU")])
def test_what_may_pass_is_raised_so_that_it_is_tried_again(
    error: Exception, storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(config(), storage)

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(running(run).training, "advance", fail)
    with pytest.raises(type(error)):
        run.step()


def test_on_a_machine_that_is_taken_away_trials_save_more_often(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, machine = SimulatedClock(), {"leaving": False}
    clock.seconds = 1000
    saves: list[float] = []
    place = Place(clock=clock, leaving=lambda: machine["leaving"])
    trial = running(start(config(), storage, checkpoint_seconds=60, place=place))
    monkeypatch.setattr(trial.saver, "save", lambda *_: saves.append(clock.seconds))
    for clock.seconds, leaving in (
        (1030, False),
        (1031, True),
        (1034, True),
        (1037, True),
        (1090, False),
        (1100, False),
    ):
        machine["leaving"] = leaving
        trial.save_if_due()
    assert saves == [1031, 1037, 1100]


class Left(BaseException):
    """The process has ended itself."""


def leave() -> None:
    raise Left


def test_a_trial_leaves_a_machine_that_is_drained_with_all_that_it_has_done(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial.SECONDS_WHEN_LEAVING", 1e-9)
    undisturbed = start(config())
    expected = [numbers(undisturbed.step()) for _ in range(2)]
    drained = iter([False, False, True])  # the watcher tells trials first, and Ray then
    place = Place(leaving=lambda: True, draining=lambda: next(drained), leave=leave)
    first = start(config(), storage, place=place)
    saver = running(first).saver
    assert saver is not None
    save = saver.save

    def save_and_wait(*what: Any) -> None:  # while one is being written, a trial takes no other, and does not leave
        save(*what)
        saver.wait()

    monkeypatch.setattr(saver, "save", save_and_wait)
    assert numbers(first.step()) == expected[0]
    with pytest.raises(Left):
        first.step()
    second = start(config(), storage)
    assert running(second).training.done == 3
    assert [numbers(second.step()) for _ in range(2)] == expected  # the first again: the driver may have missed it


def test_a_trial_that_cannot_save_does_not_leave(storage: TrialStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.trial.SECONDS_WHEN_LEAVING", 1e-9)
    run = start(config(), storage, place=Place(leaving=lambda: True, draining=lambda: True, leave=leave))

    def fail() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(running(run).saver, "wait", fail)
    notes = run.step()["notes"]
    assert any(
        note.startswith("stays on a machine that is about to be preempted, as no checkpoint can be saved: no space")
        for note in notes
    )


def test_steps_end_with_done() -> None:
    run = start(config())
    results = [run.step(), run.step()]
    assert [result["pseudo_batches"] for result in results] == [2, 4]
    assert [result["done"] for result in results] == [False, True]
    assert results[0]["device"] == "cpu"
    assert results[0]["threads"] == 1


def test_a_lost_trial_continues_from_the_store_and_reports_its_last_report_again(storage: TrialStorage) -> None:
    undisturbed = start(config())
    expected = [undisturbed.step(), undisturbed.step()]
    first = start(config(), storage)
    first.step()  # and its process is lost here
    second = start(config(), storage)
    results = [second.step(), second.step()]
    assert [numbers(result) for result in results] == [numbers(result) for result in expected]
    assert same(weights(second), weights(undisturbed))
    # Finished, but its end was not recorded: it says so again, without training.
    third = start(config(), storage)
    result = third.step()
    assert numbers(result) == numbers(expected[1])
    assert {name: result[name] for name in TIMES} == {name: results[1][name] for name in TIMES}


def test_a_process_lost_between_the_last_update_and_its_report_still_owes_that_report(
    storage: TrialStorage, store: ObjectStore
) -> None:
    undisturbed = start(config())
    expected = [undisturbed.step(), undisturbed.step()]
    lost = start(config(), storage)
    lost.step()
    trial = running(lost)
    assert isinstance(trial.training, ZeroShotDistiller)
    trial.training.train(2)
    trial.save()
    trial.wait_for_checkpoint()  # behind the last update, and the process is lost while it measures
    continued = start(config(), storage)
    results = [continued.step(), continued.step()]
    assert [numbers(result) for result in results] == [numbers(result) for result in expected]
    assert store.keys("students") == ["students/sweep-a/t0001.safetensors"]


def test_a_damaged_checkpoint_is_said_with_the_next_report(storage: TrialStorage, store: ObjectStore) -> None:
    first = start(config(), storage)
    first.step()
    first.step()
    (_, newest) = store.keys("t0001")
    store.write(newest, b"damaged")
    result = start(config(), storage).step()
    assert result["pseudo_batches"] == 2
    assert [newest in note for note in result["notes"]] == [True]


def test_a_trial_that_goes_on_on_another_processor_says_so(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(processor: str) -> TrialRun:
        monkeypatch.setattr("trainables.trial.device_name", lambda device: processor)
        return start(config(), storage)

    first = on("Model A")
    monkeypatch.setattr(running(first), "state", running(first).training.state_dict)  # as before processors were named
    assert first.step()["machine_notes"] == []
    second = on("Model B")
    assert second.step()["machine_notes"] == [], "it is not known who made what it goes on with"
    running(second).save()
    running(second).wait_for_checkpoint()
    third = on("Model A")
    (note,) = third.step()["machine_notes"]
    assert note.startswith("trials begun on Model B are resumed on Model A, which rounds differently")
    assert third.step()["machine_notes"] == []
    assert on("Model B").step()["machine_notes"] == [], "it is finished: nothing is computed here"


def test_trials_do_not_find_each_others_checkpoints(storage: TrialStorage) -> None:
    start(config("t0001"), storage).step()
    assert start(config("t0002"), storage).step()["pseudo_batches"] == 2
    other = start(config("t0002"), storage)
    other.step()
    assert other.step()["pseudo_batches"] == 4


def test_checkpoints_are_made_in_time_also_between_reports_and_at_the_end(
    storage: TrialStorage, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimulatedClock()
    settings = config(total_pseudo_batches=8, evaluation_interval=4)
    run = start(settings, storage, checkpoint_seconds=10, place=Place(clock=clock))
    trial = running(run)
    distiller = trial.training
    assert isinstance(distiller, ZeroShotDistiller)
    pseudo_batch = distiller._pseudo_batch

    def five_seconds() -> None:
        pseudo_batch()
        trial.wait_for_checkpoint()  # in five seconds it would be written
        clock.sleep(5)

    monkeypatch.setattr(distiller, "_pseudo_batch", five_seconds)

    def saved() -> list[int]:
        return [int(key[-22:-12]) for key in store.keys("t0001")]

    run.step()
    trial.wait_for_checkpoint()
    assert saved() == [2, 4]
    distiller.train(3, trial.save_if_due)
    trial.wait_for_checkpoint()  # and the process is lost here, three batches after the report
    assert saved() == [4, 6]
    continued, undisturbed = start(settings, storage), start(settings)
    results = [continued.step(), continued.step()]
    assert [numbers(result) for result in results] == [numbers(undisturbed.step()), numbers(undisturbed.step())]
    assert same(weights(continued), weights(undisturbed))
    assert saved() == [6, 8]


def test_training_does_not_wait_for_storage_that_is_slow(storage: TrialStorage) -> None:
    may_write = threading.Event()

    class SlowStore(CheckpointStore):
        def save(self, trial_id: str, done: int, state: StateCopy) -> None:
            assert may_write.wait(20)
            super().save(trial_id, done, state)

    slow = replace(storage, checkpoints=SlowStore(storage.checkpoints._store))
    run = start(config(total_pseudo_batches=6), slow, checkpoint_seconds=1e-9)  # due after each pseudo batch
    assert [run.step()["pseudo_batches"] for _ in range(2)] == [2, 4]  # nothing has been written yet
    assert storage.checkpoints.load_newest("t0001", warn=print) is None
    may_write.set()
    assert run.step()["done"]
    state = storage.checkpoints.load_newest("t0001", warn=print)
    assert state is not None


def test_pictures_of_the_generator_are_kept_and_change_no_number(storage: TrialStorage, store: ObjectStore) -> None:
    watched, alone = start(config(), storage), start(config())
    assert numbers(watched.step()) == numbers(alone.step())
    assert numbers(watched.step()) == numbers(alone.step())
    assert same(weights(watched), weights(alone))
    assert store.keys("snapshots") == ["snapshots/t0001-0000000002.parquet", "snapshots/t0001-0000000004.parquet"]


def test_a_trial_that_is_over_trains_no_more() -> None:
    run = start(config())
    assert run.close() == []
    assert run.step()["failure"] == "RuntimeError: this trial was closed"


def test_what_no_report_has_said_comes_out_at_the_end(storage: TrialStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(config(), storage)
    trial = running(run)
    assert trial.saver is not None

    def fail() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(trial.saver, "wait", fail)
    assert run.close() == ["could not keep a checkpoint by 0 pseudo_batches: no space left"]


@pytest.mark.parametrize(("module", "unwanted"), [("trial_run", "ray"), ("trial_result", "torch")])
def test_what_is_not_needed_is_not_loaded(module: str, unwanted: str) -> None:
    code = f"import sys, trainables.{module}; sys.exit({unwanted!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
