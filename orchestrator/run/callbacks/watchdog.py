"""Notices trials that hang, and ends their processes, so that they go on elsewhere from their checkpoints.

A trial that has not reported for several times its usual interval is suspected. Then, and only then, a task on its node
looks for signs of life (``trainables.heartbeat``): slow is not hung, and neither is what waits for storage, compiles or
measures. To Tune it looks as if the process had died, which uses up one of the trial's ``max_failures``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config.blocks import HungConfig
from orchestrator.formatting import duration
from trainables.heartbeat import kill_if_stale
from trainables.trial_result import HOLD

_ANSWER_SECONDS = 10.0
"""How long the driver waits to learn whether it was the watch that ended a process."""

Ask = Callable[[str, int, str, float], Any]
"""Has a node (by id) judge a process (by pid) that runs a trial, silent for so many seconds; a reference to the answer."""


def _ask_node(node_id: str, pid: int, trial_id: str, seconds: float) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(kill_if_stale).options(scheduling_strategy=there)
    return task.remote(pid, trial_id, seconds)


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
    answer: Any = None


@dataclass(eq=False)
class HungWatch(Callback):
    """Watches the trials of one session. ``Callback`` is Tune's."""

    config: HungConfig
    ask: Ask = _ask_node
    clock: Callable[[], float] = time.monotonic
    _processes: dict[str, _Process] = field(default_factory=dict)
    _intervals: dict[str, list[float]] = field(default_factory=dict)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        key = trial.config["trial_id"]
        self._processes[key] = _Process(heard=self.clock(), intervals=self._intervals.setdefault(key, []))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune's hook."""
        process = self._processes.get(trial.config["trial_id"])
        if process is None:
            return
        now = self.clock()
        process.intervals.append(now - process.heard)
        process.heard, process.asked_at, process.answer = now, None, None
        process.node_id, process.pid = result[HOLD]["node_id"], result["pid"]

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's hook, several times a second."""
        if self.config.intervals is None:
            return
        now = self.clock()
        for key, process in self._processes.items():
            silent = now - (process.heard if process.asked_at is None else process.asked_at)
            if not process.pid or silent <= self.config.at_least_seconds:
                continue
            allowed = self._allowed(process)
            if silent > allowed:
                process.asked_at = now
                process.answer = self.ask(process.node_id, process.pid, key, allowed)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._processes.pop(trial.config["trial_id"], None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._processes.pop(trial.config["trial_id"], None)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        self._processes.pop(trial.config["trial_id"], None)

    def explain(self, key: str) -> str | None:
        """Why a trial's process has died, if it was this watch that ended it."""
        process = self._processes.get(key)
        if process is None or process.answer is None:
            return None
        try:
            silent = ray.get(process.answer, timeout=_ANSWER_SECONDS)
        except (ray.exceptions.RayError, TimeoutError):
            return None
        if silent is None:
            return None
        return f"it hung: no sign of life for {duration(silent)}, so its process was ended"

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into a file that nobody reads; see StudySearcher.
        return {}

    def _allowed(self, process: _Process) -> float:
        """Seconds of silence before a process is suspected."""
        usual = statistics.median(process.intervals)
        return max(self.config.at_least_seconds, (self.config.intervals or 0.0) * usual)
