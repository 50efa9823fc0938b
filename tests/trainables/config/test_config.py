from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from trainables.config import SupervisedConfig, ZeroShotConfig


def test_defaults_are_the_published_cifar10_settings() -> None:
    config = ZeroShotConfig()
    assert (config.student_lr, config.generator_lr) == (2e-3, 1e-3)
    assert (config.generator_steps, config.student_steps) == (1, 10)
    assert (config.batch_size, config.latent_dim, config.generator_width) == (128, 100, 128)
    assert (config.temperature, config.attention_weight, config.gradient_clip_norm) == (1.0, 250.0, 5.0)
    assert (config.total_pseudo_batches, config.report_interval) == (80_000, 800)
    teacher = SupervisedConfig()
    assert (teacher.learning_rate, teacher.momentum, teacher.weight_decay) == (0.1, 0.9, 5e-4)
    assert (teacher.budget, teacher.batch_size, teacher.teacher) == (200, 128, None)
    assert (teacher.distillation_weight, teacher.temperature, teacher.attention_weight) == (0.9, 4.0, 1000.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", -1),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("generator_steps", 0),
        ("student_steps", 1.5),
        ("attention_weight", -1),
        ("student_lr", 0),
        ("batch_size", 1),
        ("generator_width", 3),
        ("seed", -1),
        ("validation_fraction", 1),
        ("dataset", "imagenet"),
        ("teacher", "wrn-17-1"),
        ("learning_rate_horizon", 79_999),
        ("student_stepz", 3),
    ],
)
def test_bad_values_and_unknown_fields_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        ZeroShotConfig.model_validate({field: value})


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_any_step_ratio_is_allowed(steps: int) -> None:
    assert ZeroShotConfig(generator_steps=steps, student_steps=steps).student_steps == steps


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ZeroShotConfig().seed = 1


def test_every_field_is_described() -> None:
    for model in (ZeroShotConfig, SupervisedConfig):
        for name in model.model_fields:
            assert model.descriptions().get(name, "").endswith("."), f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    "module", ["trainables.config", "trainables.metrics", "orchestrator.config", "orchestrator.cli"]
)
def test_reading_a_config_imports_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'ray', 'optuna', 'torchvision'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_process_of_a_sweep_waits_for_torchvision() -> None:
    code = "import sys, orchestrator.run.sweep, trainables.ray_trainables; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "interval"),
    [
        ({}, 800),  # a hundredth, as published
        ({"total_pseudo_batches": 2000}, 79),  # 15,000 images against 20 times 3 * 10 * 128 of training
        ({"total_pseudo_batches": 2000, "validation_fraction": 0.0}, 53),
        ({"total_pseudo_batches": 300}, 30),  # ten reports at least
        ({"total_pseudo_batches": 5}, 1),
        (
            {"total_pseudo_batches": 2000, "student_steps": 1, "batch_size": 32},
            79,
        ),  # what a search varies moves no report
        ({"total_pseudo_batches": 2000, "evaluation_interval": 7}, 7),
    ],
)
def test_reports_come_every_hundredth_or_as_often_as_is_affordable(changes: dict[str, Any], interval: int) -> None:
    assert ZeroShotConfig.model_validate(changes).report_interval == interval
