"""Settings of the loop and what its states are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

State = dict[str, torch.Tensor]


def snapshot(network: nn.Module) -> State:
    return {key: value.clone() for key, value in network.state_dict().items()}


def changed(network: nn.Module, before: State) -> bool:
    return any(not torch.equal(value, before[key]) for key, value in network.state_dict().items())


# Every field changes what two pseudo batches do or report. The exceptions have their own tests, or need another teacher.
CHANGES: dict[str, Any] = {
    "student": "wrn-10-1",
    "seed": 1,
    "generator_steps": 2,
    "student_steps": 3,
    "temperature": 2.0,
    "attention_weight": 10.0,
    "student_attention_layers": "block2",
    "teacher_attention_layers": "block2",
    "student_lr": 1e-2,
    "generator_lr": 1e-2,
    "gradient_clip_norm": 1e-3,
    "batch_size": 5,
    "latent_dim": 6,
    "generator_width": 6,
    "total_pseudo_batches": 5,
    "learning_rate_horizon": 8,
    "evaluation_interval": 1,
    "generator_seed": 1,
    "student_seed": 1,
    "latents": "fresh",
    "student_batch": "scored",
    "student_mode_in_generator_step": "eval",
    "student_divergence": "reverse_kl",
    "generator_divergence": "reverse_kl",
    "divergence_reduction": "batchmean",
    "temperature_factor": "squared",
    "teacher_entropy_weight": 0.5,
    "student_entropy_weight": 0.5,
    "consistency_weight": 5.0,
    "consistency_disturbance": "blur",
    "diversity_weight": 0.5,
    "generator_term": "student_entropy",
    "generator_term_weight": 0.5,
    "metrics": f"{Path(__file__).with_name('own_metric.py')}:largest_weight",
    "numerics": "exact",
    "precision": "bfloat16",
    "data_free_scores": True,
    "student_timed": True,
}
# Fields that need another to have a say.
BASES: dict[str, dict[str, Any]] = {
    "student": {"attention_weight": 0.0},  # attention needs equal activations, which another student has not
    "student_mode_in_generator_step": {"teacher": "wrn-10-1", "student": "wrn-10-1"},  # a LeNet has no BatchNorm
    **{
        key: {"teacher": "wrn-10-1", "student": "wrn-10-1", "attention_weight": 250.0}
        for key in ("student_attention_layers", "teacher_attention_layers")
    },
    "temperature_factor": {"temperature": 2.0},
    "consistency_disturbance": {"consistency_weight": 5.0},
    "generator_term_weight": {"generator_term": "student_entropy"},
}


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    for part in (state["logbook"], state["last_report"]):
        for key in ("training_seconds", "evaluation_seconds"):
            assert part.pop(key) > 0
    return state


def assert_equal(ours: Any, theirs: Any) -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_equal(ours[key], theirs[key])
    elif isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs
