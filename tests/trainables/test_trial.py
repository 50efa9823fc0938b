"""What a trial does beyond its training: where its student comes from and goes, and what is measured at its end."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import BufferReader

from tests.support.supervised import SMALL
from tests.support.tiny import make_inputs, tiny_settings
from tests.support.trials import run
from trainables.config import SplitsKey, SupervisedConfig, ZeroShotConfig, config_class
from trainables.errors import StudentError
from trainables.evaluation import TransitionCurves, mean_transition_error
from trainables.images.splits import DatasetSplits
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.storage.students import StudentStore
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.supervised import SupervisedTrainer
from trainables.trial import TrialStorage, build_training

ZERO_SHOT = ZeroShotConfig.model_validate(tiny_settings())
SUPERVISED = SupervisedConfig.model_validate(SMALL)
CPU = torch.device("cpu")


@pytest.fixture
def storage(store: ObjectStore) -> TrialStorage:
    return TrialStorage(
        sweep_id="sweep-a",
        checkpoints=CheckpointStore(store.below("checkpoints")),
        students=StudentStore(store.below("students")),
        curves=store.below("curves"),
    )


def test_the_method_decides_what_is_built() -> None:
    for config, kind in ((ZERO_SHOT, ZeroShotDistiller), (SUPERVISED, SupervisedTrainer)):
        assert config_class(config.model_dump()) is type(config)
        assert type(build_training(config, make_inputs(config), None, CPU)) is kind
    assert config_class({}) is ZeroShotConfig
    with pytest.raises(ValueError, match="method=few_shot: unknown; allowed: zero_shot, data_free, supervised"):
        config_class({"method": "few_shot"})


@pytest.mark.parametrize("config", [ZERO_SHOT, SUPERVISED], ids=["zero-shot", "supervised"])
def test_the_student_of_a_completed_trial_is_kept_and_another_trial_starts_from_it(
    config: ZeroShotConfig | SupervisedConfig, storage: TrialStorage
) -> None:
    trained, _ = run(config, storage, "t0003")
    expected = trained.student.state_dict()
    kept = storage.students.load("sweep-a/t0003")
    assert all(torch.equal(kept[key], expected[key]) for key in expected)
    assert storage.students.load_config("sweep-a/t0003") == config.model_dump()
    tuned = SUPERVISED.model_copy(update={"initial_student": "sweep-a/t0003"})
    training = build_training(tuned, make_inputs(tuned), storage, CPU)
    assert all(torch.equal(value, expected[key]) for key, value in training.student.state_dict().items())


def test_a_start_from_a_student_needs_the_storage_that_has_it() -> None:
    tuned = SUPERVISED.model_copy(update={"initial_student": "sweep-a/t0003"})
    with pytest.raises(StudentError, match="initial_student=sweep-a/t0003: needs the storage"):
        build_training(tuned, make_inputs(tuned), None, CPU)


def test_a_missing_or_damaged_student_is_named(storage: TrialStorage, store: ObjectStore) -> None:
    with pytest.raises(StudentError, match=r"no student sweep-a/t0001 .*: name a completed trial as SWEEP/TRIAL"):
        storage.students.load("sweep-a/t0001")
    run(ZERO_SHOT, storage, "t0001")
    key = "students/sweep-a/t0001.safetensors"
    store.write(key, store.read(key)[:-9])
    with pytest.raises(StudentError, match="student sweep-a/t0001 is damaged"):
        storage.students.load("sweep-a/t0001")


def test_a_diverged_trial_leaves_no_student(storage: TrialStorage, store: ObjectStore) -> None:
    _, result = run(ZERO_SHOT.model_copy(update={"student_lr": 1e30, "attention_weight": 0.0}), storage)
    assert result["diverged"]
    assert store.keys("students") == []


@pytest.mark.parametrize(
    "config",
    # With seeds whose students agree with the teacher on an image.
    [ZERO_SHOT, SUPERVISED.model_copy(update={"teacher": "lenet", "seed": 1})],
    ids=["zero-shot", "supervised"],
)
def test_transition_curves_are_taken_at_the_end(
    config: ZeroShotConfig | SupervisedConfig, storage: TrialStorage
) -> None:
    _, without = run(config, storage, "t0000")
    assert "mean_transition_error" not in without
    asked = config.model_copy(update={"transition_images": 2})
    trained, result = run(asked, storage, "t0001")
    table = pq.read_table(BufferReader(storage.curves.read("t0001.parquet")))
    assert set(table["trial_id"].to_pylist()) == {"t0001"}
    curves = TransitionCurves.from_table(table.drop_columns(["trial_id"]))
    assert mean_transition_error(curves).mean == pytest.approx(result["mean_transition_error"], abs=1e-6)
    # A trial whose end was not recorded says it again, from its checkpoint.
    _, again = run(asked, storage, "t0001")
    assert again["mean_transition_error"] == result["mean_transition_error"]
    assert trained.student.training


def test_a_student_that_never_agrees_with_its_teacher_is_a_result_too(
    storage: TrialStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_agree(*_: object, **__: object) -> None:
        raise ValueError("the networks agree on no image")

    monkeypatch.setattr("trainables.trial.transition_curves", none_agree)
    _, result = run(ZERO_SHOT.model_copy(update={"transition_images": 2}), storage)
    assert result["done"]
    assert "mean_transition_error" not in result
    assert "no transition curves: the networks agree on no image" in str(result["notes"])


class UnreadableSplits(dict[SplitsKey, DatasetSplits]):
    """Images that nobody may ask for."""

    def __getitem__(self, key: SplitsKey) -> DatasetSplits:
        raise AssertionError(f"real images or labels were asked for: {key}")


def test_a_trial_that_is_not_audited_reads_no_image_and_trains_as_one_that_is(storage: TrialStorage) -> None:
    blind = ZeroShotConfig.model_validate(tiny_settings(audited=False, data_free_scores=True))
    inputs = replace(make_inputs(blind), splits=UnreadableSplits())
    training, audited = (
        build_training(config, of, storage, CPU)
        for config, of in ((blind, inputs), (ZERO_SHOT, make_inputs(ZERO_SHOT)))
    )
    with pytest.raises(AssertionError, match="real images or labels were asked for"):
        build_training(ZERO_SHOT, inputs, storage, CPU)
    while not training.finished:
        report, other = training.advance(), audited.advance()
    for name in ("validation_accuracy", "test_accuracy", "measured_teacher_accuracy"):
        assert report[name] is None
        assert other[name] is not None
    assert report["test_evaluations"] == 0
    assert report["data_free_score"] is not None
    assert report["divergence"] == other["divergence"]
    ours, theirs = training.student.state_dict(), audited.student.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
