"""A verdict can say no: faults that re-implementations of the method had, each put into the real loop, are found.

The students are LeNets with BatchNorm, which learn from digits in seconds. What is "published" for them are runs of the
same loop without a fault, and runs with other seeds are found to be on their curve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.digits_reference import digits, train_teacher
from orchestrator.loading import load_sweep
from orchestrator.reproduction import Verdict, judge_on_curve
from trainables.config import ZeroShotConfig
from trainables.distiller import ZeroShotDistiller, _Lesson
from trainables.evaluation import accuracy
from trainables.networks import Network
from trainables.teachers import Teacher

HEALTHY = (
    *(0.897, 0.909, 0.922, 0.928, 0.867, 0.924, 0.933, 0.906, 0.906),
    *(0.947, 0.938, 0.943, 0.922, 0.939, 0.919, 0.885, 0.952, 0.919),
)
"""Test accuracies without a fault, of nine seeds on one machine and nine on another: rounding alone moves so short a run by
points."""


class BatchNormLeNet(Network):
    """Its channels have scales that differ a hundredfold, which BatchNorm undoes, at test time by its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 5, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 16, 5, bias=False), nn.BatchNorm2d(16)
        self.scales1, self.scales2 = (torch.logspace(-1, 1, channels).view(-1, 1, 1) for channels in (6, 16))
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = F.relu(self.bn1(self.scales1 * self.conv1(images)))
        second = F.relu(self.bn2(self.scales2 * self.conv2(F.max_pool2d(first, 2))))
        hidden = F.relu(self.fc1(F.max_pool2d(second, 2).flatten(1)))
        return self.fc3(F.relu(self.fc2(hidden))), [first, second]


@cache
def teacher() -> Teacher:
    return train_teacher(load_sweep("digits-table-1"), digits())


def accuracy_with(fault: Callable[[ZeroShotDistiller], None], seed: int) -> float:
    config = load_sweep("digits-table-1").configs()[0].model_copy(update={"seed": seed})
    assert isinstance(config, ZeroShotConfig)
    distiller = ZeroShotDistiller(config, teacher=teacher(), splits=digits().without_training_images())
    torch.manual_seed(seed)
    distiller.student = BatchNormLeNet().train()
    distiller.student_optimizer = torch.optim.Adam(distiller.student.parameters(), lr=config.student_lr)
    fault(distiller)
    distiller.train(config.budget - distiller.pseudo_batches)
    return accuracy(distiller.student, digits().test, distiller.normalisation)


def no_fault(distiller: ZeroShotDistiller) -> None:
    pass


def no_momentum(distiller: ZeroShotDistiller) -> None:
    for module in distiller.student.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0


def student_left_in_eval_mode(distiller: ZeroShotDistiller) -> None:
    distiller.train(1)
    distiller.student.eval()
    distiller.student.train = lambda mode=True: distiller.student  # type: ignore[method-assign]


def teacher_outputs_from_another_batch(distiller: ZeroShotDistiller) -> None:
    teach = distiller._teach

    def mixed_up(images: Tensor) -> _Lesson:
        with torch.no_grad():
            return teach(distiller.generator(torch.randn(len(images), distiller.config.latent_dim)))

    distiller._teach = mixed_up


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "runs", "verdict"),
    [
        (no_fault, 2, Verdict.ON_CURVE),
        (no_momentum, 1, Verdict.OFF_CURVE),
        (student_left_in_eval_mode, 2, Verdict.OFF_CURVE),
        (teacher_outputs_from_another_batch, 1, Verdict.OFF_CURVE),
    ],
)
def test_a_fault_takes_the_student_off_the_curve(
    fault: Callable[[ZeroShotDistiller], None], runs: int, verdict: Verdict
) -> None:
    values = [accuracy_with(fault, seed) for seed in range(runs)]
    judgement = judge_on_curve(values, HEALTHY, spread=None)
    assert judgement.verdict is verdict, (values, judgement.note)
    assert verdict is Verdict.ON_CURVE or "below" in judgement.note
