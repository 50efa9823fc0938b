"""A search and the records of its confirmation."""

from __future__ import annotations

from typing import Any

from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.config import SweepConfig
from orchestrator.results import TrialRecord
from tests.support.records import record
from trainables.config import AnyTrialConfig

SEARCH = SweepConfig.model_validate(
    {
        "name": "search",
        "trial": {"dataset": "digits", "teacher": "lenet", "student": "lenet", "seed": 7},
        "space": "step_ratio_temperature",
        "scale": 0.5,
        "storage": "./elsewhere",
        "teacher_recipe": {"full_data_epochs": 20},
    }
)
SEARCHED = ["generator_steps", "student_steps", "temperature"]


def row(number: int, state: str = "completed", **settings: Any) -> TrialRecord:
    config = SEARCH.trial_config({"generator_steps": 1, "student_steps": 10, "temperature": 1.0, **settings})
    return record_of(config, f"t{number:04d}", state=state)


def record_of(config: AnyTrialConfig, trial_id: str, **changes: Any) -> TrialRecord:
    columns = {f"config_{name}": value for name, value in config.model_dump().items()}
    return record(trial_id, **columns | changes)


BOARD = Leaderboard(
    sweep_id="search-1a2b3c4d",
    sweep=SEARCH,
    searched=SEARCHED,
    rows=[
        row(5, student_steps=15),
        row(0),
        row(3, temperature=2.0),
        row(4, generator_steps=2),
        row(6, "stopped_early", generator_steps=3),
    ],
)
