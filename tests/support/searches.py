"""What tests of a sweep's search share."""

from __future__ import annotations

from typing import Any

from optuna.storages import InMemoryStorage

from orchestrator.search.study import SweepStudy
from orchestrator.search.sweep_search import SweepSearch


def new_study(*modes: str) -> SweepStudy:
    """A study in memory, of one objective that is to be large unless ``modes`` say otherwise."""
    return SweepStudy.create("study", InMemoryStorage(), modes=modes)


def next_trial(search: SweepSearch) -> dict[str, Any] | None:
    """What a search suggests, in one dict; None if it has nothing now."""
    trial = search.suggest()
    return None if trial is None else trial.flat


def suggest(search: SweepSearch) -> dict[str, Any]:
    """The same where it has something."""
    suggestion = next_trial(search)
    assert suggestion is not None
    return suggestion
