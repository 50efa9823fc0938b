"""Registry of the schedulers that a config accepts, by name."""

from __future__ import annotations

from typing import Annotated

from orchestrator.kinds import KindRegistry
from orchestrator.schedulers.asha import Asha
from orchestrator.schedulers.base import AbsentScheduler, SchedulerConfig
from orchestrator.schedulers.median import Median
from orchestrator.schedulers.none import NoEarlyStopping
from orchestrator.schedulers.pbt import Pbt

SCHEDULERS: KindRegistry[SchedulerConfig] = KindRegistry(
    "scheduler",
    group="zskt.schedulers",
    base=SchedulerConfig,
    absent=AbsentScheduler,
    kinds={
        "asha": Asha,
        "median": Median,
        "pbt": Pbt,
        "none": NoEarlyStopping,
    },
    flat={
        "name": "asha",
        "grace": 0.25,
        "reduction_factor": 3,
        "smoothing": 3,
        "minimum_trials": 5,
        "population": 8,
        "generations": 10,
        "quantile": 0.25,
    },
)

AnyScheduler = Annotated[SchedulerConfig, SCHEDULERS]
"""Type of a field that holds a scheduler of any kind."""
