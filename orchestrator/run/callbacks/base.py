"""What follows the trials of a session, whatever runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.search.trial_queue import SweepTrial


@dataclass(frozen=True, kw_only=True)
class TrialFailure:
    """Why a trial does not go on where it ran."""

    cause: str
    """The reason in a line."""

    without_machine: bool = False
    """Whether the trial has lost its machine, or left one that is about to go: nothing that the trial has done."""

    error: Exception | None = None
    """The trial's own error, where that is known."""


class TrialCallback:
    """Follows the trials of one session. Each method does nothing unless a class has one of its own.

    **Order.** A trial starts, reports, and ends or fails, one event at a time. After ``on_trial_recover`` the same trial
    starts again; a trial that fails while it is set up recovers or fails without having started. Of several callbacks the
    recorder comes first.

    **Errors.** What a callback raises ends the session.
    """

    def on_trial_start(self, trial: SweepTrial) -> None:
        """A trial has a place to run."""

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """A trial has reported: what ``TrialRun.step`` returned, which may be that the trial has failed for good."""

    def on_trial_end(self, trial: SweepTrial) -> None:
        """A trial has made its last report, or was stopped after one."""

    def on_trial_recover(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """A trial goes on from its last checkpoint in another process, or in this one once more."""

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """A trial has failed more often than it is tried again."""

    def on_step(self, *, running: int, waiting: int) -> None:
        """Some time has passed, often less than a second.

        Args:
            running: How many trials run.
            waiting: How many have been suggested and wait for a place.
        """
