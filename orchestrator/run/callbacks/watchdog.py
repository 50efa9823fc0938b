"""Notices trials that hang, and ends their processes, so that they go on elsewhere from their checkpoints.

A trial that has not reported for several times its usual interval is suspected. Then, and only then, a task on its node
looks for signs of life (``trainables.system.heartbeat``): slow is not hung, and neither is what waits for storage, compiles
or measures. To Tune it looks as if the process had died, which uses up one of the trial's ``max_failures``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config.blocks import HungConfig
from orchestrator.formatting import duration
from orchestrator.run.callbacks.base import TrialCallback, TrialFailure
from orchestrator.search.trial_queue import SweepTrial
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.trial_result import ALLOCATION

Answer = Callable[[], float | None]
"""Waits until a node has judged a process: for how many seconds that was silent, if it was ended; else None."""

Ask = Callable[[str, int, str, float], Answer]
"""Has a node (by id) judge a process (by pid) that runs a trial (by name), silent for so many seconds."""


@dataclass(kw_only=True)
class _Process:
    """One that runs a trial."""

    heard: float
    intervals: list[float]
    """Seconds between the trial's reports, by all its processes."""

    node_id: str = ""
    pid: int = 0
    """0 until its first report, before which it is not judged."""

    asked_at: float | None = None
    answer: Answer | None = None


@dataclass(eq=False)
class StallWatchdog(TrialCallback):
    """Watches the trials of one session."""

    config: HungConfig
    ask: Ask
    clock: Clock = SYSTEM_CLOCK
    _processes: dict[str, _Process] = field(default_factory=dict)
    _intervals: dict[str, list[float]] = field(default_factory=dict)

    def on_trial_start(self, trial: SweepTrial) -> None:
        """Follow a process whose first report is still to come."""
        key = trial.key
        self._processes[key] = _Process(heard=self.clock.monotonic(), intervals=self._intervals.setdefault(key, []))

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Note that a process lives, and how long it took."""
        process = self._processes.get(trial.key)
        if process is None:
            return
        now = self.clock.monotonic()
        process.intervals.append(now - process.heard)
        process.heard, process.asked_at, process.answer = now, None, None
        process.node_id, process.pid = result[ALLOCATION]["node_id"], result["pid"]

    def on_step(self, *, running: int, waiting: int) -> None:
        """Have processes judged that have been silent for too long."""
        if self.config.intervals is None:
            return
        now = self.clock.monotonic()
        for key, process in self._processes.items():
            silent = now - (process.heard if process.asked_at is None else process.asked_at)
            if not process.pid or silent <= self.config.at_least_seconds:
                continue
            allowed = self._allowed(process)
            if silent > allowed:
                process.asked_at = now
                process.answer = self.ask(process.node_id, process.pid, key, allowed)

    def on_trial_end(self, trial: SweepTrial) -> None:
        """Follow it no longer."""
        self._processes.pop(trial.key, None)

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Follow it no longer."""
        self._processes.pop(trial.key, None)

    def on_trial_recover(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Follow it no longer; another process will start."""
        self._processes.pop(trial.key, None)

    def explain(self, key: str) -> str | None:
        """Why a trial's process has died, if it was this watch that ended it."""
        process = self._processes.get(key)
        if process is None or process.answer is None:
            return None
        silent = process.answer()
        if silent is None:
            return None
        return f"it hung: no sign of life for {duration(silent)}, so its process was ended"

    def _allowed(self, process: _Process) -> float:
        """Seconds of silence before a process is suspected."""
        usual = statistics.median(process.intervals)
        return max(self.config.at_least_seconds, (self.config.intervals or 0.0) * usual)
