"""Settings and trainings on labelled images that take milliseconds."""

from __future__ import annotations

from typing import Any

import torch

from tests.support.tiny import make_splits, make_teacher
from trainables.config import SupervisedConfig
from trainables.training.supervised import SupervisedTrainer

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "student": "lenet",
    "full_data_epochs": 4,
    "evaluation_interval": 2,
    "batch_size": 16,
    "learning_rate": 0.05,
}


def make_trainer(*, dtype: torch.dtype = torch.float32, initial: Any = None, **changes: Any) -> SupervisedTrainer:
    config = SupervisedConfig.model_validate({**SMALL, **changes})
    return SupervisedTrainer(
        config,
        splits=make_splits(config.dataset, train=40),
        teacher=make_teacher(config.teacher, dataset=config.dataset) if config.teacher else None,
        initial_weights=initial,
        dtype=dtype,
    )
