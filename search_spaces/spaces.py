"""Named search spaces: functions of an Optuna trial that return ``{field of the trial: value}``.

Each parameter is named after the field that it sets, so that Optuna's plots and the results have the same names.
"""

from __future__ import annotations

from typing import Protocol


class Suggest(Protocol):
    """Part of ``optuna.Trial`` that a search space uses. Fixed fields are answered without Optuna."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object: ...


def step_ratio_temperature(trial: Suggest) -> dict[str, object]:
    """Vary generator steps 1-10, student steps 1-20 and temperature 0.5-8 (log): the study that this project is for."""
    return {
        "generator_steps": trial.suggest_int("generator_steps", 1, 10),
        "student_steps": trial.suggest_int("student_steps", 1, 20),
        "temperature": trial.suggest_float("temperature", 0.5, 8.0, log=True),
    }


def optimisation(trial: Suggest) -> dict[str, object]:
    """Vary the learning rates within a factor of 10 of the published ones, and the batch size."""
    return {
        "student_lr": trial.suggest_float("student_lr", 2e-4, 2e-2, log=True),
        "generator_lr": trial.suggest_float("generator_lr", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
    }


def regularisation(trial: Suggest) -> dict[str, object]:
    """Vary attention weight, gradient clipping and the weights of the generator's extra terms.

    The attention weight is within a factor of 10 of the published one. The terms' weights are at most one half; only that of
    the student's entropy may be negative.
    """
    return {
        "attention_weight": trial.suggest_float("attention_weight", 25.0, 2500.0, log=True),
        "gradient_clip_norm": trial.suggest_categorical("gradient_clip_norm", [1.0, 5.0, 25.0, None]),
        "teacher_entropy_weight": trial.suggest_float("teacher_entropy_weight", 0.0, 0.5),
        "student_entropy_weight": trial.suggest_float("student_entropy_weight", -0.5, 0.5),
        "diversity_weight": trial.suggest_float("diversity_weight", 0.0, 0.5),
    }


def losses(trial: Suggest) -> dict[str, object]:
    """Vary the divergences of student and generator and, unless both are L1, the temperature and its factor."""
    found: dict[str, object] = {
        "student_divergence": trial.suggest_categorical("student_divergence", list(_DIVERGENCES)),
        "generator_divergence": trial.suggest_categorical("generator_divergence", list(_DIVERGENCES)),
    }
    if {"l1"} != set(found.values()):
        found["temperature"] = trial.suggest_float("temperature", 0.5, 8.0, log=True)
        found["temperature_factor"] = trial.suggest_categorical("temperature_factor", ["none", "squared"])
    return found


def ablations(trial: Suggest) -> dict[str, object]:
    """Vary choices of the loop that the paper's text leaves open, and whether attention transfer is used."""
    latents = trial.suggest_categorical("latents", ["shared", "fresh"])
    found: dict[str, object] = {
        "latents": latents,
        "student_mode_in_generator_step": trial.suggest_categorical(
            "student_mode_in_generator_step", ["train", "eval"]
        ),
        "divergence_reduction": trial.suggest_categorical("divergence_reduction", ["mean", "batchmean"]),
        "attention_weight": trial.suggest_categorical("attention_weight", [0.0, 250.0]),
    }
    if latents == "shared":  # fresh latents have no scored images to learn from
        found["student_batch"] = trial.suggest_categorical("student_batch", ["updated", "scored"])
    return found


def everything(trial: Suggest) -> dict[str, object]:
    """Vary all settings in wide ranges, at sizes that a CPU trains in seconds.

    For testing data-free scores, which should rank students whatever their settings.
    """
    return {
        "generator_steps": trial.suggest_int("generator_steps", 1, 3),
        "student_steps": trial.suggest_int("student_steps", 2, 16),
        "temperature": trial.suggest_float("temperature", 0.5, 8.0, log=True),
        "student_lr": trial.suggest_float("student_lr", 3e-4, 1.5e-2, log=True),
        "generator_lr": trial.suggest_float("generator_lr", 2e-4, 1e-2, log=True),
        "attention_weight": trial.suggest_categorical("attention_weight", [0.0, 25.0, 250.0, 2500.0]),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64]),
        "generator_width": trial.suggest_categorical("generator_width", [8, 16, 32]),
    }


_DIVERGENCES = ("forward_kl", "reverse_kl", "jensen_shannon", "l1")

SPACES = {
    space.__name__: space
    for space in (step_ratio_temperature, optimisation, regularisation, losses, ablations, everything)
}
