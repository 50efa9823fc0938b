"""Trials of the engine that differ in every part, each of a fraction of a second."""

from __future__ import annotations

from typing import Any

import torch

from tests.support.tiny import make_probe_set, make_splits, make_teacher, tiny_settings
from trainables.config.data_free.config import DataFreeConfig
from trainables.config.data_free.pieces import TERMS
from trainables.training.data_free.engine import DataFreeDistiller

COMPOSITIONS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "fresh latents": {"latents": "fresh", "generator_divergence": "l1", "student_divergence": "l1"},
    "the paper's extra terms": {"generator_steps": 2, "consistency_weight": 0.1, "student_entropy_weight": 0.2},
    "meta-generator, pool, teacher looks again": {
        "teacher": "wrn-10-1",
        "source": "meta_generator",
        "generator_steps": 2,
        "generator_output": "sigmoid",
        "latent_lr": 0.01,
        "source_views": "crop_flip",
        "student_batch": "best",
        "student_mode_in_generator_step": "eval",
        "batch_norm_weight": 1.0,
        "batch_norm_momentum": 0.9,
        "one_hot_weight": 0.4,
        "wanted_class": "drawn",
        "adversarial_mask": "agreeing",
        "warmup_share": 0.25,
        "pool": "all",
        "pool_precision": "uint8",
        "student_optimizer": "sgd",
        "attention_weight": 0.0,
    },
    "generator told the class, answers kept, average": {
        "class_conditional": True,
        "wanted_class": "drawn",
        "generator_output": "sigmoid",
        "source_batch_size": 6,
        "one_hot_weight": 1.0,
        "balance_weight": 1.0,
        "activation_weight": 0.1,
        "pool": "newest",
        "pool_size": 10,
        "pool_views": 3,
        "student_optimizer": "sgd",
        "student_nesterov": True,
        "student_weight_decay": 1e-3,
        "student_schedule": "one_cycle",
        "student_average": 0.5,
        "gate": "disagreeing",
    },
    "pixels, the best of a call": {
        "source": "pixels",
        "generator_steps": 3,
        "generator_lr": 0.1,
        "source_views": "crop_flip",
        "student_batch": "best",
        "pool": "all",
        "pool_views": 1,
        "generator_term": "student_entropy",
    },
    "pixels, told apart, reservoir of scored views": {
        "source": "pixels",
        "generator_steps": 2,
        "generator_lr": 0.1,
        "contrastive_weight": 0.5,
        "total_variation_weight": 0.01,
        "source_views": "crop_flip",
        "student_batch": "scored",
        "pool": "reservoir",
        "pool_size": 6,
        "pool_views": 1,
        "view": "none",
        "pool_precision": "float32",
        "generator_schedule": "constant",
    },
}


CHANGES: dict[str, Any] = {
    "source": "meta_generator",
    "source_batch_size": 6,
    "generator_output": "sigmoid",
    "class_conditional": True,
    "wanted_class": "drawn",
    "latent_lr": 0.1,
    "meta_lr": 0.1,
    "generator_beta1": 0.5,
    "generator_schedule": "constant",
    "source_views": "crop_flip",
    "student_batch": "best",
    "warmup_share": 0.25,
    "adversarial_mask": "agreeing",
    "adversarial_temperature": 5.0,
    "batch_norm_momentum": 0.9,
    "gate": "confident",
    "gate_threshold": 0.9,
    "pool": "all",
    "pool_size": 4,
    "pool_precision": "uint8",
    "pool_views": 2,
    "view": "none",
    "student_optimizer": "sgd",
    "student_momentum": 0.1,
    "student_nesterov": True,
    "student_weight_decay": 0.1,
    "student_schedule": "milestones",
    "student_average": 0.9,
    **{f"{name}_weight": 0.7 for name in TERMS},
}
"""A change of each field that belief matching does not have, which must show."""

_WITH_BATCH_NORM = {"teacher": "wrn-10-1", "attention_weight": 0.0, "batch_norm_weight": 1.0}
_POOLED = {"pool": "all", "generator_output": "sigmoid"}
BASES: dict[str, dict[str, Any]] = {
    "wanted_class": {"one_hot_weight": 1.0},
    "class_conditional": {"wanted_class": "drawn"},
    "latent_lr": {"source": "meta_generator", "generator_steps": 2},
    "meta_lr": {"source": "meta_generator"},
    "student_batch": {"generator_steps": 3},
    "batch_norm_momentum": _WITH_BATCH_NORM,
    "batch_norm_weight": {"teacher": "wrn-10-1", "attention_weight": 0.0},
    "adversarial_mask": {"batch_size": 16},
    "gate_threshold": {"gate": "confident", "gate_threshold": 0.0, "batch_size": 16},
    "pool_size": {"pool": "newest", "pool_size": 6},
    "pool_precision": _POOLED,
    "pool_views": _POOLED,
    "view": _POOLED,
    "student_momentum": {"student_optimizer": "sgd"},
    "student_nesterov": {"student_optimizer": "sgd"},
}


def make_config(**changes: Any) -> DataFreeConfig:
    """A config of a trial of a few milliseconds."""
    return DataFreeConfig.model_validate({**tiny_settings(**changes), "method": "data_free"})


def make_engine(*, dtype: torch.dtype = torch.float32, **changes: Any) -> DataFreeDistiller:
    """An engine at its beginning."""
    config = make_config(**changes)
    return DataFreeDistiller(
        config,
        teacher=make_teacher(config.teacher, dataset=config.dataset),
        splits=make_splits(config.dataset),
        probe=make_probe_set(config.dataset),
        dtype=dtype,
    )
