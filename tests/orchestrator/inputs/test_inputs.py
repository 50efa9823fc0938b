"""The part of preparing inputs that needs no Ray: a teacher's training, lost and found again, and published teachers."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from orchestrator.cli.options import teachers_by_network
from orchestrator.config import SweepConfig
from orchestrator.inputs import prepare as inputs
from orchestrator.inputs import teacher_training
from orchestrator.inputs.prepare import SweepImages, find_teacher
from orchestrator.inputs.teacher_training import TeacherTraining, train_teacher
from orchestrator.run.inline import InlineBackend
from orchestrator.run.ray_backend import RayTasks
from orchestrator.storage import find_storage
from tests.support.tiny import make_bucket, make_teacher, tiny_settings
from trainables.config import SupervisedConfig
from trainables.config.datasets import find_spec
from trainables.errors import TeacherError
from trainables.evaluation import Accuracies
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.filesystems.s3 import S3Filesystem
from trainables.storage.object_store import ObjectStore

RECIPE = SupervisedConfig(
    dataset="digits", student="lenet", full_data_epochs=4, evaluation_interval=2, learning_rate=0.05, batch_size=32
)


def test_teacher_training_goes_on_from_its_last_report(store: ObjectStore) -> None:
    splits = load_dataset("digits", data_root=Path("none"), validation_fraction=0.5)

    def training(folder: str) -> TeacherTraining:
        return TeacherTraining(RECIPE, splits, CheckpointStore(store.below(folder)), cpus=1, gpus=0)

    undisturbed = training("one")
    assert [undisturbed.advance()["epochs"] for _ in range(2)] == [2, 4]
    training("two").advance()  # and its process is lost
    continued = training("two")
    assert continued.advance()["epochs"] == 4
    # A driver that is started again asks once more.
    assert training("two").advance()["epochs"] == 4
    ours, theirs = continued.describe(), undisturbed.describe()
    assert ours.metadata == theirs.metadata
    assert all(torch.equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)


def test_a_teacher_whose_machine_is_announced_to_go_loses_no_epoch(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_training, "SECONDS_WHEN_LEAVING", 0)
    splits = load_dataset("digits", data_root=Path("none"), validation_fraction=0.5)
    updates = {"left": 0}

    class Gone(BaseException):
        """The machine is."""

    def leaving() -> bool:
        updates["left"] -= 1
        if updates["left"] < 0:
            raise Gone
        return updates["left"] == 0

    def training(folder: str, **more: Any) -> TeacherTraining:
        return TeacherTraining(RECIPE, splits, CheckpointStore(store.below(folder)), cpus=1, gpus=0, **more)

    undisturbed = training("one")
    for _ in range(2):
        undisturbed.advance()
    in_all = undisturbed._trainer.student_updates
    for announced_at in (5, in_all // 2 + 5, in_all):  # before the first report, after it, and right before the last
        lost = training("two", leaving=leaving)
        updates["left"] = announced_at - lost._trainer.student_updates
        with suppress(Gone):
            while lost.advance()["epochs"] < 4:
                pass
        assert training("two")._trainer.student_updates >= announced_at
    continued = training("two")
    assert continued.advance()["epochs"] == 4
    ours, theirs = continued.describe(), undisturbed.describe()
    assert all(torch.equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)


LOST = ray.exceptions.RayActorError("0" * 32, "The actor died because its node has died. Node Id: 1")
CRASHED = ray.exceptions.RayActorError("0" * 32, "The actor died unexpectedly: its worker process has died.")
STARVED = ray.exceptions.OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.")


def test_lost_machines_use_up_none_of_a_teachers_attempts(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([LOST, CRASHED, LOST, LOST, STARVED, LOST])
    said: list[str] = []

    def get(*_: Any) -> Any:
        raise next(ends)

    process = SimpleNamespace(advance=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr("ray.get", get)
    monkeypatch.setattr("ray.remote", lambda **_: lambda actor: SimpleNamespace(remote=lambda *_, **__: process))
    monkeypatch.setattr("ray.kill", lambda actor: None)
    with pytest.raises(TeacherError, match=r"its process died 2 times \(out of memory\?\); the same command resumes"):
        train_teacher(
            RECIPE,
            DatasetSplits.without_images(find_spec("digits")),
            CheckpointStore(store),
            tasks=RayTasks(),
            say=said.append,
            cpus=1,
            gpus=0,
            max_failures=1,
        )
    assert [line.partition(": ")[2].partition(";")[0] for line in said[1:]] == [
        "its machine was lost",
        "its process died",
        "its machine was lost",
        "its machine was lost",
    ]


@pytest.mark.parametrize("audited", [True, False])
def test_a_teacher_that_sees_one_class_is_warned_of_once(
    audited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    biased = dict(make_teacher().weights)
    torch.save(biased, tmp_path / "good.pt")
    biased["fc3.bias"][4] += 100
    torch.save(biased, tmp_path / "biased.pt")
    # An accuracy that no such teacher has: what is asked here does not go by it.
    monkeypatch.setattr("trainables.teachers.teacher.measure", lambda *_: Accuracies(validation=0.9, test=0.9))
    said: dict[str, list[str]] = {}
    for name in ("good", "biased"):
        trial = tiny_settings(teacher_checkpoint=str(tmp_path / f"{name}.pt"), audited=audited)
        cases = {"one": {}, "two": {"student_steps": 1}}
        sweep = SweepConfig.model_validate({"name": "a", "trial": trial, "cases": cases, "objective": None})
        said[name] = []
        store = ObjectStore(filesystem=LocalFilesystem(), root=str(tmp_path))
        inputs.prepare_inputs(sweep, store, tasks=InlineBackend(), say=said[name].append)
    assert not [line for line in said["good"] if "warning" in line]
    (warning,) = [line for line in said["biased"] if "warning" in line]
    assert warning.startswith("warning: teacher lenet (biased.pt) sees class 4 in all 100 noise images")


def test_published_weights_are_fetched_from_a_bucket_once(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, _, query = make_bucket(moto).partition("?")
    content = io.BytesIO()
    torch.save({"state_dict": dict(make_teacher().weights)}, content)
    find_storage(f"{bucket}?{query}").write("ours/lenet.pt", content.getvalue())
    (flag,) = teachers_by_network([f"lenet={bucket}/ours/lenet.pt?{query}"]).items()
    config = SweepConfig.model_validate({"name": "a", "trial": tiny_settings(), "teachers": dict([flag])})
    (trial,) = config.configs()
    images = SweepImages(config)
    monkeypatch.setattr(images, "of", lambda _: DatasetSplits.without_images(find_spec("digits")))
    store = find_storage("./none")
    teacher = find_teacher(trial, config, images, store)
    assert teacher is not None
    assert teacher.metadata.source == "lenet.pt"
    assert teacher.metadata.sha256 == hashlib.sha256(content.getvalue()).hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(S3Filesystem, "read", lambda *_: pytest.fail("fetched again"))
        find_teacher(trial, config, images, store)
    missing = trial.model_copy(update={"teacher_checkpoint": f"{bucket}/ours/other.pt?{query}"})
    with pytest.raises(
        TeacherError, match=r"^teacher_checkpoint=s3://bucket-\w+/ours/other.pt: there is no such file$"
    ):
        find_teacher(missing, config, images, store)
    wrong = trial.model_copy(update={"teacher": "wrn-10-1"})
    with pytest.raises(TeacherError, match=r"^teacher_checkpoint=s3://bucket-\w+/ours/lenet.pt does not fit"):
        find_teacher(wrong, config, images, store)


@pytest.mark.ray
def test_what_a_long_task_raises_at_its_start_is_no_loss_of_its_process(ray_local: None) -> None:
    def start() -> Any:
        raise TeacherError("it cannot begin")

    losses: list[bool] = []
    with pytest.raises(TeacherError, match="it cannot begin"):
        RayTasks().follow(start, on_report=lambda report: True, on_loss=losses.append, cpus=1, gpus=0, max_failures=2)
    assert not losses
