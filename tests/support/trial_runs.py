"""One trial in this process."""

from __future__ import annotations

from typing import Any

import torch

from tests.support.tiny import make_inputs, tiny_settings
from trainables.trial import TrialStorage
from trainables.trial_result import parse_settings
from trainables.trial_run import TrialRun


def config(trial_id: str = "t0001", **changes: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, **tiny_settings(**changes)}


def start(settings: dict[str, Any], storage: TrialStorage | None = None, **options: Any) -> TrialRun:
    inputs = make_inputs(parse_settings(settings))
    return TrialRun.start(settings, inputs=inputs, storage=storage, **{"checkpoint_seconds": 0, **options})


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    names = ("pseudo_batches", "student_updates", "validation_accuracy", "generator_loss", "student_loss", "done")
    return {name: result[name] for name in names}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())
