"""No early stopping."""

from __future__ import annotations

from typing import ClassVar, Literal

from orchestrator.schedulers.base import SchedulerConfig


class NoEarlyStopping(SchedulerConfig):
    """No early stopping: every trial uses its whole budget."""

    compares_midway: ClassVar[bool] = False
    stops_trials: ClassVar[bool] = False

    name: Literal["none"] = "none"

    @property
    def in_words(self) -> str:
        """See ``SchedulerConfig``."""
        return "none is stopped early"
