"""Searches over a space of few settings."""

from __future__ import annotations

from typing import Any

from orchestrator.config import SweepConfig
from orchestrator.results import TrialState
from orchestrator.search.study import SweepStudy
from orchestrator.search.sweep_search import SweepSearch
from search_spaces import SearchSpace, resolve_space
from tests.support.searches import next_trial

TWO = {"student_steps": {"type": "categorical", "choices": [10, 20]}}


def sweep_of(space: Any, *, num_trials: int, **changes: Any) -> SweepConfig:
    values = {"name": "a", "trial": {"dataset": "digits"}, "space": space, "num_trials": num_trials}
    return SweepConfig.model_validate({**values, "sampler": {"name": "random"}, **changes})


def search_on(study: SweepStudy, sweep: SweepConfig, space: SearchSpace | None = None, **more: Any) -> SweepSearch:
    return SweepSearch(study, sweep, space or resolve_space(sweep.space), sweep_id="a", **more)


def run(search: SweepSearch, *, trials: int = 99, state: TrialState = TrialState.COMPLETED) -> list[tuple[Any, ...]]:
    """Settings of the trials that are asked for, until there are none or so many."""
    asked: list[tuple[Any, ...]] = []
    while len(asked) < trials and (found := next_trial(search)):
        asked.append(tuple(found[field] for field in ("student_steps", "batch_size", "temperature")))
        search.report(found["trial_id"], 10, 0.01 * found["student_steps"])
        search.tell(found["trial_id"], state, {"validation_accuracy": 0.01 * found["student_steps"]})
    return asked
