"""Values of fields, and trials that differ in one of them."""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import Any, get_args

import torch

from tests.support.compositions import BASES as DATA_FREE_BASES
from tests.support.compositions import CHANGES as DATA_FREE_CHANGES
from tests.support.distillers import BASES, CHANGES
from tests.support.tiny import make_inputs, tiny_settings
from trainables.config import (
    METHODS,
    AnyTrialConfig,
    TrialConfig,
)
from trainables.trial import build_training, transition_metrics

TINY: dict[str, dict[str, Any]] = {
    "zero_shot": tiny_settings(),
    "data_free": tiny_settings(method="data_free"),
    "supervised": {
        **{"method": "supervised", "dataset": "digits", "student": "lenet", "teacher": "lenet"},
        **{"batch_size": 16, "full_data_epochs": 20, "evaluation_interval": 10},
    },
}
FIELDS = [(method, field) for method in METHODS for field in METHODS[method].config_class.model_fields]
NEEDED: dict[str, dict[str, Any]] = {
    **BASES,
    **DATA_FREE_BASES,
    "learning_rate_horizon": {"total_pseudo_batches": 4},
    "images_per_class": {"iteration_scale": 1e-2},
}
"""What another field must be for this one to have a say."""
VALUES = {
    **{key: value for key, value in CHANGES.items() if key not in {"seed", "generator_seed", "student_seed"}},
    **DATA_FREE_CHANGES,
    **{"full_data_epochs": 3, "iteration_scale": 0.5, "images_per_class": 2, "distillation_weight": 0.5},
    **{"learning_rate": 0.01, "momentum": 0.5, "weight_decay": 0.1, "batch_size": 8},
    **{"validation_fraction": 0.2, "compilation": "never"},  # compiling takes minutes
    "student_batch": "scored",  # which all methods that have it know
    **{"student_attention_layers": "conv1", "teacher_attention_layers": "conv1", "image_size": "28x28"},
}
"""Another value of a field, where not any other one would do."""


def base_config(method: str, field: str) -> AnyTrialConfig:
    return METHODS[method].config_class.model_validate({**TINY[method], **NEEDED.get(field, {})})


def another(config: TrialConfig, field: str) -> Any:
    """Another value of a field, by its type."""
    value = getattr(config, field)
    if field in VALUES and VALUES[field] != value:
        return VALUES[field]
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
    literals = get_args(type(config).model_fields[field].annotation)
    others = [literal for literal in literals if isinstance(literal, str) and literal != value]
    if others:
        return others[0]
    numeric = isinstance(value, NoneType) and any(get_args(part)[:1] == (int,) for part in literals)
    return 7 if numeric else "another"


@cache
def student_of(settings: str, method: str) -> dict[str, torch.Tensor]:
    """The student of a whole trial: trained, measured at each report, its transition curves taken."""
    config = METHODS[method].config_class.model_validate_json(settings)
    training = build_training(config, make_inputs(config), None, torch.device("cpu"))
    while not training.finished:
        training.advance()
    if config.transition_images:
        transition_metrics(training)
    return {key: value.clone() for key, value in training.student.state_dict().items()}


def same_student(one: AnyTrialConfig, other: AnyTrialConfig) -> bool:
    """Whether two trials have the same student, bit for bit."""
    ours, theirs = (student_of(config.model_dump_json(), config.method) for config in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
