"""Notices that no trial can begin, and says why: else a sweep on a cluster that others fill looks as if it hung."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from orchestrator.view import duration

PATIENCE_SECONDS = 60.0
"""A trial's process takes some seconds to start; one that is not there by then has no room."""


@dataclass(kw_only=True, eq=False)
class WaitingWatch(Callback):
    """Watches whether any trial of one session runs. ``Callback`` is Tune's."""

    cpus: float
    """CPU cores that a trial needs."""

    gpus: float
    """GPUs that it needs."""

    warn: Callable[[str], None]
    there: Callable[[], Mapping[str, float]] = ray.cluster_resources
    free: Callable[[], Mapping[str, float]] = ray.available_resources
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    """Since when trials wait and none runs; none: they do not."""

    _said: bool = field(default=False)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's hook, several times a second."""
        states = {trial.status for trial in trials}
        if Trial.RUNNING in states or Trial.PENDING not in states:
            self._since, self._said = None, False
            return
        now = self.clock()
        self._since = now if self._since is None else self._since
        waited = now - self._since
        if waited >= PATIENCE_SECONDS and not self._said:
            self._said = True
            there, free = self.there(), self.free()
            self.warn(
                f"no trial could begin for {duration(waited)}: each needs {self.cpus:g} CPU cores and {self.gpus:g} GPUs; "
                f"free are {free.get('CPU', 0):g} of {there.get('CPU', 0):g} cores and {free.get('GPU', 0):g} of "
                f"{there.get('GPU', 0):g} GPUs. Others use the cluster, or its machines still start (ray status); "
                "--address local runs on this machine alone"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into a file that nobody reads; see StudySearcher.
        return {}
