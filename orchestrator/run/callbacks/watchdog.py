"""Detects trials that hang, and kills their processes, so that the trials are resumed elsewhere from their checkpoints.

A trial that has not reported for several times its usual interval is suspected. Only then does a task on its node check the
process's heartbeat (``trainables.system.heartbeat``). A process that is slow, waits for storage, compiles or measures is not
killed. Tune takes the kill for a crash of the process, which uses up one of the trial's ``max_failures``.
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
"""Function that waits for a node's answer: the age of the last heartbeat in seconds if the process was killed, else None."""

Ask = Callable[[str, int, str, float], Answer]
"""Function that asks a node (by id) to kill the process (by pid) of a trial (by name) if its last heartbeat is older than
so many seconds."""


@dataclass(kw_only=True)
class _Process:
    """A process that runs a trial."""

    heard: float
    intervals: list[float]
    """Seconds between the trial's reports, over all of its processes."""

    node_id: str = ""
    pid: int = 0
    """Process id; 0 until the first report, before which the process is not checked."""

    asked_at: float | None = None
    answer: Answer | None = None


@dataclass(eq=False)
class StallWatchdog(TrialCallback):
    """Kills hanging processes of one session's trials."""

    config: HungConfig
    ask: Ask
    clock: Clock = SYSTEM_CLOCK
    _processes: dict[str, _Process] = field(default_factory=dict)
    _intervals: dict[str, list[float]] = field(default_factory=dict)

    def on_trial_start(self, trial: SweepTrial) -> None:
        """Start watching a trial's process."""
        key = trial.key
        self._processes[key] = _Process(heard=self.clock.monotonic(), intervals=self._intervals.setdefault(key, []))

    def on_trial_report(self, trial: SweepTrial, result: Mapping[str, Any]) -> None:
        """Record the time of a report, and the interval since the one before."""
        process = self._processes.get(trial.key)
        if process is None:
            return
        now = self.clock.monotonic()
        process.intervals.append(now - process.heard)
        process.heard, process.asked_at, process.answer = now, None, None
        process.node_id, process.pid = result[ALLOCATION]["node_id"], result["pid"]

    def on_step(self, *, running: int, waiting: int) -> None:
        """Have the heartbeats of processes checked that have not reported for too long."""
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
        """Stop watching the trial's process."""
        self._processes.pop(trial.key, None)

    def on_trial_error(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Stop watching the trial's process."""
        self._processes.pop(trial.key, None)

    def on_trial_recover(self, trial: SweepTrial, failure: TrialFailure) -> None:
        """Stop watching the trial's process; the trial is resumed in another one."""
        self._processes.pop(trial.key, None)

    def explain(self, key: str) -> str | None:
        """Return why a trial's process died if this watchdog had it killed; else None."""
        process = self._processes.get(key)
        if process is None or process.answer is None:
            return None
        silent = process.answer()
        if silent is None:
            return None
        return f"it hung: no heartbeat for {duration(silent)}, so its process was killed"

    def _allowed(self, process: _Process) -> float:
        """Return the seconds without a report after which a process is suspected."""
        usual = statistics.median(process.intervals)
        return max(self.config.at_least_seconds, (self.config.intervals or 0.0) * usual)
