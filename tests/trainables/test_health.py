"""Each guard is provoked by what it is there for, in a real loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny import make_distiller
from trainables.config import ZeroShotConfig
from trainables.health import GUARDS, findings
from trainables.metrics import METRICS, Report
from trainables.training.distiller import ZeroShotDistiller

WIDE: dict[str, Any] = {"dataset": "cifar10", "teacher": "wrn-10-1", "student": "wrn-10-1"}


def seen(distiller: ZeroShotDistiller, *, recorded: float | None = None) -> dict[str, str]:
    return findings(distiller.config, distiller.advance(), recorded_teacher_accuracy=recorded)


def test_a_healthy_trial_is_left_alone() -> None:
    for settings in ({}, WIDE):
        distiller = make_distiller(**settings, batch_size=32, student_steps=2, teacher_entropy_weight=0.0)
        # An untrained teacher sees few classes, and two pseudo batches teach none; these guards have tests of their own.
        assert set(seen(distiller)) <= {"one class", "class not learnt"}


def test_every_guard_watches_a_column_and_has_a_remedy() -> None:
    assert {guard.column for guard in GUARDS} <= {metric.name for metric in METRICS}
    assert all(":" in guard.says for guard in GUARDS)


def test_a_loss_that_is_not_finite() -> None:
    found = seen(make_distiller(student_lr=1e30, attention_weight=0.0))
    assert "lower the learning rates" in found["non-finite numbers"]


def test_a_student_that_is_its_own_teacher_gives_the_generator_nothing_to_learn() -> None:
    # One re-implementation passes student=teacher; its generator never moves.
    distiller = make_distiller(student_lr=1e-30)
    distiller.student.load_state_dict(distiller.teacher.state_dict())
    assert "one network" in seen(distiller)["no adversarial gradient"]


def test_a_generator_whose_images_are_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    distiller = make_distiller(batch_size=16)
    alike = torch.randn(1, 1, 32, 32)
    weight = distiller.generator.conv3.weight
    monkeypatch.setattr(
        distiller.generator, "forward", lambda latents: alike.expand(len(latents), 1, 32, 32) + weight.sum()
    )
    found = seen(distiller)
    assert "all but equal" in found["images alike"]
    assert "one or two classes" in found["one class"]


def test_a_student_left_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    distiller = make_distiller(**WIDE)
    distiller.student.eval()
    monkeypatch.setattr(distiller.student, "train", lambda mode=True: distiller.student)
    found = seen(distiller)
    assert "student.train()" in found["student in eval mode"]
    assert "BatchNorm" in found["running statistics at rest"]


def test_one_layer_in_eval_mode_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    distiller = make_distiller(**WIDE)
    layer = distiller.student.get_submodule("bn1")
    layer.eval()
    monkeypatch.setattr(layer, "train", lambda mode=True: layer)
    found = seen(distiller)
    assert "student in eval mode" in found
    assert "running statistics at rest" not in found


def test_statistics_without_momentum_are_at_rest() -> None:
    distiller = make_distiller(**WIDE)
    for module in distiller.student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    assert set(seen(distiller)) & {"student in eval mode", "running statistics at rest"} == {
        "running statistics at rest"
    }


def test_a_class_that_the_student_has_not_learnt_by_the_end() -> None:
    distiller = make_distiller(batch_size=16)
    report = distiller.advance()
    unlearnt: Report = {**report, "class_coverage": 0.1}
    halfway: Report = {**unlearnt, "pseudo_batches": distiller.config.budget - 1}
    ended: Report = {**unlearnt, "pseudo_batches": distiller.config.budget}

    def found(report: Report) -> dict[str, str]:
        return findings(distiller.config, report, recorded_teacher_accuracy=None)

    assert "raise total_pseudo_batches" in found(ended)["class not learnt"]
    # Early on every student lacks classes.
    assert "class not learnt" not in found(halfway)
    assert "class not learnt" not in found({**ended, "class_coverage": 0.5})


@pytest.mark.parametrize(("recorded", "warned"), [(0.95, True), (None, False)])
def test_a_teacher_that_is_not_the_recorded_one(recorded: float | None, warned: bool) -> None:
    found = seen(make_distiller(), recorded=recorded)
    assert ("another teacher" in found) is warned
    assert not warned or "check normalisation=digits" in found["another teacher"]


def test_sampling_error_is_not_another_teacher() -> None:
    def with_measured(value: float) -> Report:
        report: dict[str, Any] = make_distiller().advance()
        return {**report, "measured_teacher_accuracy": value}

    def found(value: float) -> set[str]:
        return set(findings(ZeroShotConfig(), with_measured(value), recorded_teacher_accuracy=0.94))

    assert "another teacher" not in found(0.905)
    assert "another teacher" not in found(0.975)
    assert "another teacher" in found(0.88)
