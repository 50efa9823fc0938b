from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.compute.flops import (
    curves_work,
    report_work,
    step_flops,
    trial_work,
    unit_work,
)
from trainables.compute.work import Rate, Work, _counted
from trainables.config import AnyTrialConfig, SupervisedConfig, ZeroShotConfig

LENETS = {"dataset": "digits", "teacher": "lenet", "student": "lenet"}


class _Small(nn.Module):
    """A convolution, a view, and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        written: Tensor = self.conv(images)
        return written.flatten(1).transpose(0, 1).relu_()


def test_operations_that_write_are_counted_and_views_are_not() -> None:
    with torch.device("meta"):
        counted = _counted(_Small(), torch.empty(1, 3, 8, 8))
    written = 4 * 8 * 8 * 4
    assert counted == Work(flops=2 * 4 * 3 * 9 * 8 * 8, bytes=2 * written, calls=2)


def test_work_adds_up_and_a_batch_is_asked_for_at_once() -> None:
    one = Work(flops=2, bytes=3, calls=5)
    assert one + one == 2 * one == Work(flops=4, bytes=6, calls=10)
    assert one.of_batch(10) == Work(flops=20, bytes=30, calls=5)
    assert Rate(flops=2, bytes=3).times(2).seconds(one) == pytest.approx(0.5 + 0.5 + 5e-5)


@pytest.mark.parametrize("changes", [{"student_steps": 20}, {"batch_size": 256}, {"generator_width": 256}])
def test_more_to_do_is_more_work_in_every_respect_but_calls_of_a_larger_batch(changes: dict[str, int]) -> None:
    base = ZeroShotConfig()
    one, more = unit_work(base), unit_work(base.model_copy(update=changes))
    assert more.flops > one.flops
    assert more.bytes > one.bytes
    assert (more.calls > one.calls) == ("student_steps" in changes)
    assert step_flops(base) == one.flops


def test_a_supervised_epoch_is_its_updates() -> None:
    alone = SupervisedConfig(dataset="digits", student="lenet", batch_size=64, validation_fraction=0)
    assert alone.student_updates_per_unit == 63
    (teacher_look,) = {
        (unit_work(alone.model_copy(update={"teacher": "lenet"})).flops - unit_work(alone).flops)
        / alone.student_updates_per_unit
    }
    assert unit_work(alone).flops == pytest.approx(3 * teacher_look * 63)


def _parts(config: AnyTrialConfig) -> tuple[float, float, float]:
    return unit_work(config).flops, report_work(config).flops, curves_work(config).flops


def test_a_trial_is_its_training_its_reports_and_its_curves() -> None:
    config = ZeroShotConfig.model_validate(
        {**LENETS, "total_pseudo_batches": 40, "evaluation_interval": 15, "transition_images": 10}
    )
    training, report, curves = _parts(config)
    assert config.reports == 3
    assert trial_work(config).flops == pytest.approx(40 * training + 3 * report + curves)
    _, of_blind, _ = _parts(config.model_copy(update={"audited": False}))
    _, of_scored, _ = _parts(config.model_copy(update={"audited": False, "data_free_scores": True}))
    _, _, none = _parts(config.model_copy(update={"transition_images": 0}))
    assert of_blind == none == 0
    assert of_scored == pytest.approx(report * 2000 / (1000 + round(4000 * 0.1)))
    assert curves == pytest.approx(10 * 9 * 100 * 3 * of_scored / 2000)
