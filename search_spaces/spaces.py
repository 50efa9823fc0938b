"""Named search spaces: functions of an Optuna trial that return ``{field of ZeroShotConfig: value}``.

Each parameter is named after the field it sets, so that Optuna's plots and the results speak the same words.
"""

from __future__ import annotations

from typing import Protocol


class Suggest(Protocol):
    """The part of ``optuna.Trial`` that a space uses; suggestions of pinned fields are answered without Optuna."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: list[str | int | float | bool | None]) -> object: ...


def step_ratio_temperature(trial: Suggest) -> dict[str, object]:
    """The study this project is for: generator steps 1-10, student steps 1-20, temperature 0.5-8 (log)."""
    return {
        "generator_steps": trial.suggest_int("generator_steps", 1, 10),
        "student_steps": trial.suggest_int("student_steps", 1, 20),
        "temperature": trial.suggest_float("temperature", 0.5, 8.0, log=True),
    }


def optimisation(trial: Suggest) -> dict[str, object]:
    """Learning rates within a factor of 10 of the published ones, and the batch size."""
    return {
        "student_lr": trial.suggest_float("student_lr", 2e-4, 2e-2, log=True),
        "generator_lr": trial.suggest_float("generator_lr", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
    }


SPACES = {space.__name__: space for space in (step_ratio_temperature, optimisation)}
