"""Training on labelled images: the published recipes, and that a training continues where it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.support.distillers import assert_equal, changed, snapshot, without_times
from tests.support.supervised import SMALL, make_trainer
from tests.support.tiny import make_images, trained_metrics
from trainables.config import SupervisedConfig
from trainables.config.datasets import find_normalisation
from trainables.images.splits import normalise
from trainables.metrics import METRICS
from trainables.storage import checkpoint
from trainables.training.supervised import subsample_per_class

SVHN: dict[str, Any] = {"dataset": "svhn", "full_data_epochs": 100}


@pytest.mark.parametrize(
    ("settings", "epochs", "milestones"),
    [
        ({}, 200, (60, 120, 160)),
        ({"images_per_class": 10}, 100_000, (30_000, 60_000, 80_000)),
        ({"images_per_class": 25}, 40_000, (12_000, 24_000, 32_000)),
        ({"images_per_class": 50}, 20_000, (6_000, 12_000, 16_000)),
        ({"images_per_class": 75}, 13_333, (4_000, 8_000, 10_666)),
        ({"images_per_class": 100}, 10_000, (3_000, 6_000, 8_000)),
        ({"images_per_class": 200}, 5_000, (1_500, 3_000, 4_000)),
        (SVHN, 100, (30, 60, 80)),
        *(
            ({**SVHN, "images_per_class": m, "iteration_scale": m / 100}, 7_325, (2_197, 4_395, 5_860))
            for m in (10, 25, 50, 75, 100)
        ),
    ],
)
def test_epochs_and_milestones_are_the_published_ones(
    settings: dict[str, Any], epochs: int, milestones: tuple[int, int, int]
) -> None:
    config = SupervisedConfig.model_validate(settings)
    assert (config.budget, config.milestones) == (epochs, milestones)


def test_a_scaled_training_is_compressed() -> None:
    config = SupervisedConfig().scaled(0.05)
    assert (config.budget, config.milestones, config.report_interval) == (10, (3, 6, 8), 1)
    few = SupervisedConfig(images_per_class=75, iteration_scale=0.75).scaled(0.1)
    assert (few.budget, few.milestones) == (1000, (300, 600, 800))
    assert SupervisedConfig().scaled(1) == SupervisedConfig()


def test_reports_count_what_was_done_and_name_every_metric() -> None:
    trainer = make_trainer(teacher="lenet")
    reports = [trainer.advance(), trainer.advance()]
    assert trainer.finished
    assert [report["epochs"] for report in reports] == [2, 4]
    assert [report["student_updates"] for report in reports] == [6, 12]  # 40 images: 16, 16 and 8
    named = trained_metrics("supervised")
    for report in reports:
        assert set(report) == named
        for metric in METRICS:
            if metric.name in named - {"running_statistics_shift"} and metric.asked_by != "student_timed":
                assert type(report[metric.name]) is metric.kind, metric.name
    assert [report["test_evaluations"] for report in reports] == [1, 2]


def test_each_epoch_sees_each_image_once_the_last_small_batch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(full_data_epochs=2)
    seen: list[torch.Tensor] = []

    def noted(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(images)
        return normalise(images, *rest)

    monkeypatch.setattr("trainables.training.supervised.normalise", noted)
    trainer.advance()
    assert [len(images) for images in seen] == [16, 16, 8] * 2
    first, second = torch.cat(seen[:3]).flatten(1), torch.cat(seen[3:]).flatten(1)
    assert not torch.equal(first, second)
    as_rows = [sorted(map(tuple, images.tolist())) for images in (first, second, trainer._train.images.flatten(1))]
    assert as_rows[0] == as_rows[1] == as_rows[2]


def test_a_last_image_alone_joins_the_batch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(full_data_epochs=2, batch_size=13)  # 40 images: 13, 13 and 14
    sizes: list[int] = []

    def noted(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(len(images))
        return normalise(images, *rest)

    monkeypatch.setattr("trainables.training.supervised.normalise", noted)
    trainer.advance()
    assert sizes == [13, 13, 14] * 2


@pytest.mark.parametrize(("batch_size", "steps"), [(99, 1), (33, 3), (32, 4), (128, 1)])
def test_steps_of_an_epoch_are_counted_likewise(batch_size: int, steps: int) -> None:
    config = SupervisedConfig.model_validate({**SMALL, "images_per_class": 10, "batch_size": batch_size})
    assert config.steps_per_unit == steps


@pytest.mark.parametrize(
    ("changes", "layers"), [({}, 2), ({"dataset": "cifar10", "student": "wrn-10-1", "teacher": "wrn-10-1"}, 3)]
)
def test_the_loss_is_the_published_one(changes: dict[str, Any], layers: int) -> None:
    """Written once more from the formula: probabilities instead of logarithms, a loop over layers."""
    trainer = make_trainer(dtype=torch.float64, **{"teacher": "lenet", **changes})
    images = make_images(6, channels=trainer._train.images.shape[1], seed=5)
    pixels = normalise(images.images, find_normalisation(trainer.config.dataset), torch.float64)
    loss = trainer._loss(pixels, images.labels)
    assert trainer.teacher is not None
    student_logits, student_activations = trainer.student(pixels)
    teacher_logits, teacher_activations = trainer.teacher(pixels)
    student, teacher = (logits.div(4).softmax(1) for logits in (student_logits, teacher_logits))
    kl = (teacher * (teacher.log() - student.log())).sum() / (6 * 10)
    expected = 0.1 * F.cross_entropy(student_logits, images.labels) + 2 * 0.9 * 16 * kl
    for ours, theirs in zip(student_activations, teacher_activations, strict=True):
        maps = [F.normalize((a**2).mean(1).flatten(1), dim=1) for a in (ours, theirs)]
        expected = expected + 1000 * 3 / layers * ((maps[0] - maps[1]) ** 2).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_without_a_teacher_it_is_cross_entropy_alone() -> None:
    trainer = make_trainer()
    report = trainer.advance()
    assert report["student_loss"] == report["cross_entropy"]
    assert (report["divergence"], report["measured_teacher_accuracy"]) == (0.0, None)
    ignored = make_trainer(temperature=9.0, distillation_weight=0.1, attention_weight=3.0)
    ignored.advance()
    assert not changed(trainer.student, snapshot(ignored.student))


def test_the_teacher_is_never_moved() -> None:
    trainer = make_trainer(dataset="cifar10", student="wrn-10-1", teacher="wrn-10-1", full_data_epochs=1)
    assert trainer.teacher is not None
    before = snapshot(trainer.teacher)
    trainer.advance()
    assert not changed(trainer.teacher, before)
    assert not trainer.teacher.training
    assert trainer.student.training


CHANGES: dict[str, Any] = {
    "student": "wrn-10-1",
    "teacher": None,
    "seed": 1,
    "batch_size": 8,
    "evaluation_interval": 1,
    "images_per_class": 2,
    "full_data_epochs": 3,
    "iteration_scale": 0.5,
    "distillation_weight": 0.5,
    "temperature": 2.0,
    "attention_weight": 10.0,
    "learning_rate": 0.01,
    "momentum": 0.5,
    "weight_decay": 0.1,
}
EXCEPTIONS = {
    "dataset": "chooses the images: tests/orchestrator/run/test_sweep.py",
    "dataset_file": "read before training: tests/trainables/images/test_dataset_files.py",
    "teacher_checkpoint": "read before training: tests/trainables/teachers/test_teachers.py",
    "teacher_seed": "of the teacher's training: tests/orchestrator/run/test_sweep.py",
    "normalisation": "the next test but two",
    "validation_fraction": "splits the images: tests/trainables/images/test_data.py",
    "split_seed": "the same",
    "method": "has one value here: tests/trainables/test_trial.py",
    "transition_images": "measured after training: tests/trainables/test_trial.py",
    "initial_student": "found on storage: tests/trainables/test_trial.py",
    "image_size": "the images' and all networks': tests/trainables/images/test_image_sizes.py",
    **dict.fromkeys(
        ("channels", "num_classes", "training_images", "test_images", "dataset_sha256"),
        "read from images of one's own: tests/trainables/images/test_own_images.py",
    ),
    "metrics": "of one's own: tests/orchestrator/run/test_own_parts.py",
    "student_timed": "measured at reports: tests/trainables/compute/test_student_size.py",
}


def test_every_field_is_covered_by_the_next_test() -> None:
    assert set(CHANGES) | set(EXCEPTIONS) == set(SupervisedConfig.model_fields)
    assert not set(CHANGES) & set(EXCEPTIONS)


@pytest.mark.parametrize("field", CHANGES)
def test_no_knob_is_dead(field: str) -> None:
    base: dict[str, Any] = {"teacher": "lenet"}
    if field == "student":
        base["attention_weight"] = 0.0
    if field == "images_per_class":
        base |= {"iteration_scale": 1e-2}  # 2 of 400 images a class would mean 800 epochs

    def run(**changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        trainer = make_trainer(**{**base, **changes})
        report = {key: value for key, value in trainer.advance().items() if not key.endswith("seconds")}
        return snapshot(trainer.student), report

    (weights, report), (other, other_report) = run(), run(**{field: CHANGES[field]})
    same = weights.keys() == other.keys() and all(torch.equal(weights[key], other[key]) for key in weights)
    assert not same or report != other_report
    again, report_again = run()
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert report_again == report


def test_the_normalisation_is_used() -> None:
    one, other = make_trainer(), make_trainer(normalisation="half")
    one.advance()
    other.advance()
    assert changed(one.student, snapshot(other.student))


def test_images_are_augmented_where_the_data_set_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def noted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        calls.append(images.dtype)
        return images

    monkeypatch.setattr("trainables.training.supervised.crop_and_flip", noted)
    for name in ("svhn", "cifar10"):
        make_trainer(dataset=name, full_data_epochs=1, batch_size=40).advance()
    assert calls == [torch.uint8]


def test_few_images_are_a_choice_of_its_own_for_each_seed() -> None:
    data = make_images(200)
    chosen = subsample_per_class(data, 3, seed=0)
    assert chosen.labels.bincount().tolist() == [3] * 10
    assert torch.equal(subsample_per_class(data, 3, seed=0).images, chosen.images)
    assert not torch.equal(subsample_per_class(data, 3, seed=1).images, chosen.images)
    # The first of a shuffle: a larger M holds the smaller one, so that curves over M are nested.
    more = {tuple(image.flatten().tolist()) for image in subsample_per_class(data, 5, seed=0).images}
    assert {tuple(image.flatten().tolist()) for image in chosen.images} <= more
    assert subsample_per_class(data, None, seed=0) is data
    with pytest.raises(ValueError, match="images_per_class=21: class 0 has 20 training images; allowed: 1 to 20"):
        subsample_per_class(data, 21, seed=0)


def test_training_starts_from_given_weights() -> None:
    donor = make_trainer(seed=3)
    donor.advance()
    trainer = make_trainer(initial=snapshot(donor.student))
    assert not changed(trainer.student, snapshot(donor.student))


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])  # without and with augmentation
def test_training_goes_on_bit_for_bit_from_any_update(dataset: str) -> None:
    settings: dict[str, Any] = {"dataset": dataset, "teacher": "lenet"}
    whole, half = make_trainer(**settings), make_trainer(**settings)
    whole.advance()
    whole.advance()
    states: list[bytes] = []
    half.advance(after_each=lambda: states.append(checkpoint.dump(half.state_dict())))
    middle_of_an_epoch = checkpoint.parse(states[3], origin="test")
    continued = make_trainer(**settings)
    continued.load_state_dict(middle_of_an_epoch)
    assert continued.student_updates == 4
    continued.advance()
    continued.advance()
    ours, theirs = (checkpoint.parse(checkpoint.dump(t.state_dict()), origin="test") for t in (continued, whole))
    assert_equal(without_times(ours), without_times(theirs))


def test_a_diverging_training_says_so_and_ends() -> None:
    trainer = make_trainer(learning_rate=1e30)
    assert trainer.advance()["diverged"] is True
    assert trainer.finished
