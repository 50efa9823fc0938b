"""A method, metrics and a search space as a user's own file has them."""

from __future__ import annotations

METHOD = """
from __future__ import annotations

from typing import Annotated

import torch

from trainables.config import SupervisedConfig
from trainables.config.methods import Method
from trainables.config.roles import Cost, Names, length, permission, random_seed, setting
from trainables.config.trial import MethodName
from trainables.training.supervised import SupervisedTrainer


class AveragedConfig(SupervisedConfig):
    method: MethodName
    decay: Annotated[float, setting(cost=Cost.NONE, inherited=False)] = 0.9
    noise_seed: Annotated[int | None, random_seed(names=Names.NOTHING, inherited=False)] = None
    rounds: Annotated[int, length(cost=Cost.AMOUNT)] = 1
    may_wait: Annotated[bool, permission(cost=Cost.NONE)] = False


class AveragedTrainer(SupervisedTrainer):
    def step(self) -> None:
        before = [parameter.detach().clone() for parameter in self.student.parameters()]
        super().step()
        with torch.no_grad():
            for parameter, old in zip(self.student.parameters(), before, strict=True):
                parameter.lerp_(old, self.config.decay)


AVERAGED = Method(AveragedConfig, AveragedTrainer)
NOTHING = 7
"""
METRICS = """
import numpy as np
from trainables.config.datasets import DatasetSpec, Normalisation

def read(data_root):
    def split(count):
        labels = np.arange(count) % 4
        return np.broadcast_to(labels.reshape(-1, 1, 1) * 10, (count, 32, 32)).astype(np.uint8), labels
    return split(40), split(8)

dots = DatasetSpec(
    channels=1, num_classes=4, training_images=40, test_images=8, read=read,
    normalisation=Normalisation(mean=(0.1,), std=(0.5,)),
)

def largest(training):
    return max(float(parameter.detach().abs().max()) for parameter in training.student.parameters())

def images(training):
    return len(training.splits.test)
"""


SPACE = {"temperature": {"type": "float", "low": 1, "high": 4}}
