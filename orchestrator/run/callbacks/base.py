"""Base class of the callbacks that follow a session's trials on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.search.trial_queue import SweepTrial


@dataclass(frozen=True, kw_only=True)
class TrialFailure:
    """Why a trial cannot continue in its process."""

    cause: str
    """The reason, in one line."""

    without_machine: bool = False
    """Whether the trial's machine was lost or is about to be preempted, which is not the trial's fault."""

    error: Exception | None = None
    """The exception that the trial raised; None if it is not known."""


class TrialCallback:
    """Base of the callbacks that follow the trials of one session. All methods do nothing unless overridden.

    **Order.** A trial starts, reports, and ends or fails, one event at a time. After ``on_trial_recover`` the same trial
    starts again. A trial that fails during its set-up recovers or fails without having started. The recorder is called
    before all other callbacks.

    **Errors.** An exception raised by a callback ends the session.
    """

    def on_trial_start(self, trial: SweepTrial) -> None:
        """Handle the start of a trial in a process."""

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Handle a report of a trial: the result of ``TrialRun.step``, which may be a permanent failure of the trial."""

    def on_trial_end(self, trial: SweepTrial) -> None:
        """Handle the end of a trial that made its last report, or that was stopped after a report."""

    def on_trial_recover(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Handle a failure after which the trial is resumed from its last checkpoint, in a new process or in this one."""

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Handle a failure after which the trial is not retried."""

    def on_step(self, *, running: int, waiting: int) -> None:
        """Handle the passing of time; called regularly, often several times a second.

        Args:
            running: Number of running trials.
            waiting: Number of suggested trials that wait for resources.
        """
