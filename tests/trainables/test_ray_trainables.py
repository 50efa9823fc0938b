"""The Trainable without Ray: it can be built, stepped, saved and restored in this process."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.tune import PlacementGroupFactory

from tests.conftest import make_inputs, tiny_settings
from trainables.config import config_class
from trainables.ray_trainables import TrialTrainable
from trainables.storage.checkpoint import CheckpointStore, Snapshot
from trainables.storage.object_store import ObjectStore
from trainables.training.distiller import ZeroShotDistiller
from trainables.trial import StudentStore, TrialStorage

TIMES = ("training_seconds", "evaluation_seconds")


class Prepared(TrialTrainable):
    """As ``tune.with_parameters`` makes it."""

    storage: TrialStorage | None = None

    def setup(self, config: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
        settings = {name: value for name, value in config.items() if name not in {"trial_id", "case"}}
        inputs = make_inputs(config_class(settings).model_validate(settings))
        super().setup(config, inputs=inputs, storage=self.storage, checkpoint_seconds=0)


def config(trial_id: str = "t0001", **changes: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, **tiny_settings(**changes)}


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    names = ("pseudo_batches", "student_updates", "validation_accuracy", "generator_loss", "student_loss", "done")
    return {name: result[name] for name in names}


def weights(trainable: TrialTrainable) -> dict[str, torch.Tensor]:
    assert trainable.training is not None
    return {key: value.clone() for key, value in trainable.training.student.state_dict().items()}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.fixture
def prepared(store: ObjectStore) -> type[Prepared]:
    storage = TrialStorage(
        sweep_id="sweep-a",
        checkpoints=CheckpointStore(store),
        students=StudentStore(store.below("students")),
        curves=store.below("curves"),
        snapshots=store.below("snapshots"),
    )
    return type("WithStore", (Prepared,), {"storage": storage})


def test_a_trial_takes_over_from_another_one_once(prepared: type[Prepared]) -> None:
    parts = {"learning_rate_horizon": 4, "evaluation_interval": 2}
    first = prepared(config("t0001", total_pseudo_batches=2, **parts))
    first.train()
    second = prepared(config("t0002", student_lr=1e-4, initial_trial="t0001", **parts))
    assert same(weights(second), weights(first))
    assert second.train()["pseudo_batches"] == 4
    again = prepared(config("t0002", student_lr=1e-4, initial_trial="t0001", **parts))
    assert same(weights(again), weights(second)), "what it has saved itself goes before what it began with"
    orphan = prepared(config("t0003", initial_trial="t0009", **parts)).train()
    assert orphan["failure"].startswith("CheckpointError: initial_trial=t0009: this sweep has no checkpoint of it")


def test_what_would_fail_again_is_said_and_not_raised(prepared: type[Prepared]) -> None:
    trainable = prepared(config(student="wrn-10-1"))
    result = trainable.train()
    assert result["done"]
    assert result["failure"].startswith("ValueError: attention_weight=250: the activations")
    assert trainable.reset(config("t0002")), "the process serves the next trial"
    assert trainable.train()["pseudo_batches"] == 2


@pytest.mark.parametrize("error", [OSError("disk"), torch.AcceleratorError("GPU")])
def test_what_may_pass_is_raised_so_that_it_is_tried_again(
    error: Exception, prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = prepared(config())

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(trainable.training, "advance", fail)
    with pytest.raises(type(error)):
        trainable.train()


def test_too_little_memory_is_said_as_what_it_is_and_lets_go_of_it(
    prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = prepared(config())

    def fail(**_: object) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
        )

    monkeypatch.setattr(trainable.training, "advance", fail)
    result = trainable.train()
    assert (result["failure"], result["out_of_memory"]) == ("OutOfMemoryError: CUDA out of memory", True)
    assert result["done"]
    assert trainable.training is None
    assert trainable.reset(config("t0002")), "the process serves the next trial"
    assert trainable.train()["pseudo_batches"] == 2


def test_on_a_machine_that_is_taken_away_trials_save_more_often(
    prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"now": 1000, "leaving": False}
    saves: list[int] = []
    trainable = prepared(config())
    monkeypatch.setattr("trainables.ray_trainables.time.monotonic", lambda: machine["now"])
    monkeypatch.setattr(trainable._saver, "save", lambda *_: saves.append(machine["now"]))
    trainable._saved_at, trainable._checkpoint_seconds = 1000, 60
    trainable._leaving = lambda: bool(machine["leaving"])
    for now, leaving in ((1030, False), (1031, True), (1034, True), (1037, True), (1090, False), (1100, False)):
        machine.update(now=now, leaving=leaving)
        trainable._save_if_due()
    assert saves == [1031, 1037, 1100]


class Left(BaseException):
    """The process has ended itself."""


def leave() -> None:
    raise Left


def test_a_trial_leaves_a_machine_that_is_drained_with_all_that_it_has_done(
    prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.actor.exit_actor", leave)
    monkeypatch.setattr("trainables.ray_trainables.SECONDS_WHEN_LEAVING", 1e-9)
    undisturbed = Prepared(config())
    expected = [numbers(undisturbed.train()) for _ in range(2)]
    drained = iter([False, False, True])  # the watcher tells trials first, and Ray then
    first = prepared(config())
    first._leaving, first._draining = (lambda: True), (lambda: next(drained))
    saver = first._saver
    assert saver is not None
    save = saver.save

    def save_and_wait(*what: Any) -> None:  # while one is being written, a trial takes no other, and does not leave
        save(*what)
        saver.wait()

    monkeypatch.setattr(saver, "save", save_and_wait)
    assert numbers(first.train()) == expected[0]
    with pytest.raises(Left):
        first.train()
    second = prepared(config())
    assert second._training.done == 3
    assert [numbers(second.train()) for _ in range(2)] == expected  # the first again: the driver may have missed it


def test_a_trial_that_cannot_save_does_not_leave(prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.actor.exit_actor", leave)
    monkeypatch.setattr("trainables.ray_trainables.SECONDS_WHEN_LEAVING", 1e-9)
    trainable = prepared(config())
    assert trainable._saver

    def fail() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(trainable._saver, "wait", fail)
    trainable._leaving = trainable._draining = lambda: True
    notes = trainable.train()["notes"]
    assert any(
        note.startswith("stays on a machine that is taken away, as nothing can be kept: no space") for note in notes
    )


def test_steps_end_with_done() -> None:
    trainable = Prepared(config())
    results = [trainable.train(), trainable.train()]
    assert [result["pseudo_batches"] for result in results] == [2, 4]
    assert [result["done"] for result in results] == [False, True]
    assert results[0]["device"] == "cpu"
    assert results[0]["threads"] == 1


def test_a_reused_process_starts_its_next_trial_as_a_new_one_would() -> None:
    fresh, reused = Prepared(config("t0002", temperature=2.0)), Prepared(config())
    reused.train()
    assert reused.reset(config("t0002", temperature=2.0))
    assert numbers(reused.train()) == numbers(fresh.train())
    assert same(weights(reused), weights(fresh))


def test_a_lost_trial_continues_from_the_store_and_reports_its_last_report_again(prepared: type[Prepared]) -> None:
    undisturbed = Prepared(config())
    expected = [undisturbed.train(), undisturbed.train()]
    first = prepared(config())
    first.train()  # and its process is lost here
    second = prepared(config())
    results = [second.train(), second.train()]
    assert [numbers(result) for result in results] == [numbers(result) for result in expected]
    assert same(weights(second), weights(undisturbed))
    # Finished, but its end was not recorded: it says so again, without training.
    third = prepared(config())
    result = third.train()
    assert numbers(result) == numbers(expected[1])
    assert {name: result[name] for name in TIMES} == {name: results[1][name] for name in TIMES}


def test_a_process_lost_between_the_last_update_and_its_report_still_owes_that_report(
    prepared: type[Prepared], store: ObjectStore
) -> None:
    undisturbed = Prepared(config())
    expected = [undisturbed.train(), undisturbed.train()]
    lost = prepared(config())
    lost.train()
    assert isinstance(lost.training, ZeroShotDistiller)
    lost.training.train(2)
    lost._save()
    lost._wait_for_checkpoint()  # behind the last update, and the process is lost while it measures
    continued = prepared(config())
    results = [continued.train(), continued.train()]
    assert [numbers(result) for result in results] == [numbers(result) for result in expected]
    assert store.keys("students") == ["students/sweep-a/t0001.safetensors"]


def test_a_damaged_checkpoint_is_said_with_the_next_report(prepared: type[Prepared], store: ObjectStore) -> None:
    first = prepared(config())
    first.train()
    first.train()
    (_, newest) = store.keys("t0001")
    store.write(newest, b"damaged")
    result = prepared(config()).train()
    assert result["pseudo_batches"] == 2
    assert [newest in note for note in result["notes"]] == [True]


def test_a_trial_that_goes_on_on_another_processor_says_so(
    prepared: type[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(processor: str) -> Prepared:
        monkeypatch.setattr("trainables.ray_trainables.device_name", lambda device: processor)
        return prepared(config())

    first = on("Model A")
    monkeypatch.setattr(first, "_state", first._training.state_dict)  # as before processors were named
    assert first.train()["machine_notes"] == []
    second = on("Model B")
    assert second.train()["machine_notes"] == [], "it is not known who made what it goes on with"
    second._save()
    second._wait_for_checkpoint()
    third = on("Model A")
    (note,) = third.train()["machine_notes"]
    assert note.startswith("trials begun on Model B go on on Model A, which rounds otherwise")
    assert third.train()["machine_notes"] == []
    assert on("Model B").train()["machine_notes"] == [], "it is finished: nothing is computed here"


def test_trials_do_not_find_each_others_checkpoints(prepared: type[Prepared]) -> None:
    prepared(config("t0001")).train()
    assert prepared(config("t0002")).train()["pseudo_batches"] == 2
    other = prepared(config("t0002"))
    other.train()
    assert other.train()["pseudo_batches"] == 4


def test_checkpoints_are_made_in_time_also_between_reports_and_at_the_end(
    prepared: type[Prepared], store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("trainables.ray_trainables.time.monotonic", lambda: clock[0])
    settings = config(total_pseudo_batches=8, evaluation_interval=4)
    trainable = prepared(settings)
    trainable._checkpoint_seconds = 10
    distiller = trainable.training
    assert isinstance(distiller, ZeroShotDistiller)
    pseudo_batch = distiller._pseudo_batch

    def five_seconds() -> None:
        pseudo_batch()
        trainable._wait_for_checkpoint()  # in five seconds it would be written
        clock[0] += 5

    monkeypatch.setattr(distiller, "_pseudo_batch", five_seconds)

    def saved() -> list[int]:
        return [int(key[-22:-12]) for key in store.keys("t0001")]

    trainable.train()
    trainable._wait_for_checkpoint()
    assert saved() == [2, 4]
    distiller.train(3, trainable._save_if_due)
    trainable._wait_for_checkpoint()  # and the process is lost here, three batches after the report
    assert saved() == [4, 6]
    continued, undisturbed = prepared(settings), Prepared(settings)
    results = [continued.train(), continued.train()]
    assert [numbers(result) for result in results] == [numbers(undisturbed.train()), numbers(undisturbed.train())]
    assert same(weights(continued), weights(undisturbed))
    assert saved() == [6, 8]


def test_tunes_own_save_and_restore(tmp_path: Path) -> None:
    first, second = Prepared(config()), Prepared(config())
    first.train()
    first.save_checkpoint(str(tmp_path))
    second.load_checkpoint(str(tmp_path))
    assert numbers(first.train()) == numbers(second.train())
    assert same(weights(first), weights(second))


def test_a_gpu_that_is_not_there_means_the_cpu() -> None:
    class AskedForGpu(Prepared):
        trial_resources = PlacementGroupFactory([{"CPU": 2, "GPU": 1}])

    result = AskedForGpu(config()).train()
    torch.set_num_threads(1)
    assert result["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert result["threads"] == 2
    assert torch.cuda.is_available() or "torch finds none" in result["machine_notes"][0]


def test_without_inputs_the_message_says_how_to_give_them() -> None:
    with pytest.raises(ValueError, match="tune.with_parameters"):
        TrialTrainable(config())


def test_training_does_not_wait_for_storage_that_is_slow(prepared: type[Prepared]) -> None:
    storage = prepared.storage
    assert storage is not None
    may_write = threading.Event()

    class SlowStore(CheckpointStore):
        def save(self, trial_id: str, done: int, snapshot: Snapshot) -> None:
            assert may_write.wait(20)
            super().save(trial_id, done, snapshot)

    class Impatient(Prepared):
        def setup(self, config: dict[str, Any], **_: Any) -> None:  # type: ignore[override]
            super().setup(config)
            self._checkpoint_seconds = 1e-9  # due after each pseudo batch

    slow = SlowStore(storage.checkpoints._store)
    trainable = type("Slow", (Impatient,), {"storage": replace(storage, checkpoints=slow)})(
        config(total_pseudo_batches=6)
    )
    assert [trainable.train()["pseudo_batches"] for _ in range(2)] == [2, 4]  # nothing has been written yet
    assert storage.checkpoints.load_newest("t0001", warn=print) is None
    may_write.set()
    assert trainable.train()["done"]
    state = storage.checkpoints.load_newest("t0001", warn=print)
    assert state is not None


def test_pictures_of_the_generator_are_kept_and_change_no_number(prepared: type[Prepared], store: ObjectStore) -> None:
    watched, alone = prepared(config()), Prepared(config())
    assert numbers(watched.train()) == numbers(alone.train())
    assert numbers(watched.train()) == numbers(alone.train())
    assert same(weights(watched), weights(alone))
    assert store.keys("snapshots") == ["snapshots/t0001-0000000002.parquet", "snapshots/t0001-0000000004.parquet"]


def test_tune_can_save_a_trial_that_could_not_begin(tmp_path: Path) -> None:
    """It does so before it lets go of one that is done; an exception would hide why the trial has failed."""
    trainable = Prepared(config(student="wrn-10-1"))
    assert trainable.train()["done"]
    trainable.save(str(tmp_path))
