"""Scores without data: by hand, on networks whose answers are written into the images."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import make_distiller, make_probe_set
from trainables.evaluation import BatchNormDistance, DataFreeScorer, ProbeSet, class_balance, class_coverage
from trainables.evaluation.data_free import PROBE_KINDS
from trainables.metrics import DATA_FREE_METRICS
from trainables.networks import Network, build_network

CLASSES = 4


class Reader(Network):
    """Its logits are the pixels of one row of the image."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.weight * images[:, 0, self.row, :CLASSES], []


TEACHER, STUDENT = 0, 1


def image(teacher: list[float], student: list[float]) -> Tensor:
    """An image of which teacher and student think so, in probabilities."""
    pixels = torch.zeros(1, 32, 32)
    pixels[0, TEACHER, :CLASSES], pixels[0, STUDENT, :CLASSES] = (
        torch.tensor(teacher).log(),
        torch.tensor(student).log(),
    )
    return pixels


SURE = [0.7, 0.1, 0.15, 0.05]
OTHER = [0.1, 0.7, 0.05, 0.15]


def probe_of(**images: list[Tensor]) -> ProbeSet:
    same = image(SURE, SURE)
    return ProbeSet(
        images={kind: torch.stack(images.get(kind, [same])) for kind in PROBE_KINDS},
        targets=torch.tensor([0] * len(images.get("path", [same]))),
    )


def score(probe: ProbeSet) -> dict[str, Any]:
    return DataFreeScorer(probe, Reader(TEACHER)).score(Reader(STUDENT))


def test_a_student_that_thinks_as_its_teacher_has_nothing_to_lose() -> None:
    found = score(probe_of())
    assert set(found) == set(DATA_FREE_METRICS)
    for name in ("data_free_score", "noise_agreement", "probe_overlap"):
        assert found[name] == 1
    for name in ("probe_divergence", "probe_transition_error"):
        assert found[name] == pytest.approx(0, abs=1e-6)
    assert found["probe_calibration_error"] == pytest.approx(0.3, abs=1e-6)
    assert found["probe_statistics_distance"] is None


def test_each_score_by_hand() -> None:
    found = score(
        probe_of(
            confident=[image(SURE, SURE), image(SURE, OTHER)],
            mixed=[image(SURE, OTHER)],
            noise=[image(OTHER, SURE)],
            path=[image(SURE, OTHER), image(OTHER, SURE), image(SURE, SURE)],
        )
    )
    assert found["confident_agreement"] == 0.5
    assert found["mixed_agreement"] == 0
    assert found["noisy_agreement"] == 1
    assert found["noise_agreement"] == 0
    assert found["data_free_score"] == pytest.approx(0.5), "the mean of the three, whatever their numbers of images"
    # KL(SURE || OTHER), on two of the four images that the score is made of.
    divergence = 0.6 * math.log(7) + 0.1 * math.log(3)
    assert found["probe_divergence"] == pytest.approx(divergence / 2, rel=1e-5)
    # Of the three likeliest classes {0, 1, 2} and {0, 1, 3} two are the same.
    assert found["probe_overlap"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 1) / 4)
    assert found["probe_calibration_error"] == pytest.approx(0.7 - 0.5, abs=1e-6)
    assert found["probe_class_entropy"] == pytest.approx(math.log(2) / math.log(CLASSES))
    assert found["probe_transition_error"] == pytest.approx((0.6 + 0.6 + 0) / 3, abs=1e-6)


def test_the_balance_of_classes() -> None:
    assert class_balance(torch.tensor([3, 3, 3])) == pytest.approx(1)
    assert class_balance(torch.tensor([5, 0, 0])) == 0


def test_coverage_is_that_of_the_class_which_the_student_sees_least() -> None:
    teacher = torch.tensor([500, 300, 195, 5])
    assert class_coverage(teacher, torch.tensor([600, 310, 90, 0])) == pytest.approx(90 / 195)
    assert class_coverage(teacher, torch.tensor([700, 300, 0, 0])) == 0
    assert class_coverage(teacher, torch.tensor([500, 300, 200, 0])) == 1  # the fourth is too rare to count
    assert class_coverage(torch.zeros(4), torch.zeros(4)) == 1


def test_the_distance_from_batch_norms_statistics_by_hand() -> None:
    layer = nn.BatchNorm2d(1, eps=0).eval()
    layer.running_mean, layer.running_var = torch.tensor([1.0]), torch.tensor([4.0])
    images = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1) * math.sqrt(0.5)  # mean 0, variance 1
    with BatchNormDistance(layer) as distance:
        layer(images)
        assert distance.mean() == pytest.approx((1 / 2) ** 2 + (1 / 2 - 1) ** 2)
        assert distance.take() is None, "taken"
    layer(images)
    assert distance.take() is None, "it watches within the block only"


def test_scoring_leaves_no_trace() -> None:
    student = build_network("wrn-10-1", num_classes=10, channels=1).train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    teacher = build_network("lenet", num_classes=10, channels=1).eval()
    found = DataFreeScorer(make_probe_set(), teacher).score(student)
    assert found["probe_statistics_distance"] is not None
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert not any(module._forward_pre_hooks for module in student.modules())


def test_a_trial_reports_scores_where_they_are_asked_for_and_trains_as_without() -> None:
    plain, scored = make_distiller(), make_distiller(data_free_scores=True)
    without, found = plain.advance(), scored.advance()
    assert all(without[name] is None for name in DATA_FREE_METRICS)
    assert found["data_free_score"] is not None
    assert 0 <= found["data_free_score"] <= 1
    others = without.keys() - {*DATA_FREE_METRICS, "training_seconds", "evaluation_seconds"}
    assert {name: without[name] for name in others} == {name: found[name] for name in others}
    for ours, theirs in zip(plain.student.parameters(), scored.student.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_scores_without_images_to_score_on_are_refused() -> None:
    with pytest.raises(ValueError, match="data_free_scores=true: needs the teacher's probe set"):
        make_distiller(data_free_scores=True, probe=None)
