"""The part of preparing inputs that needs no Ray: a teacher's training, lost and found again."""

from __future__ import annotations

from pathlib import Path

import torch

from orchestrator.inputs import _TeacherTraining
from trainables.checkpoint import CheckpointStore
from trainables.config import SupervisedConfig
from trainables.data import load_dataset
from trainables.object_store import ObjectStore

RECIPE = SupervisedConfig(
    dataset="digits", student="lenet", full_data_epochs=4, evaluation_interval=2, learning_rate=0.05, batch_size=32
)


def test_teacher_training_goes_on_from_its_last_report(store: ObjectStore) -> None:
    splits = load_dataset("digits", data_root=Path("none"), validation_fraction=0.5)

    def training(folder: str) -> _TeacherTraining:
        return _TeacherTraining(RECIPE, splits, CheckpointStore(store.below(folder)), cpus=1, gpus=0)

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
