"""Notices that no trial can begin, and says why: else a sweep on a cluster that others fill looks as if it hung."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.util import placement_group_table

from orchestrator.formatting import duration

PATIENCE_SECONDS = 60.0
"""A trial's process takes some seconds to start; one that is not there by then has no room."""


def own_places() -> int:
    """Placement groups of this job that the cluster has made room for; Tune asks for one for each trial."""
    job = ray.get_runtime_context().get_job_id()
    groups = placement_group_table().values()
    # A group's id ends with that of the job that made it.
    return sum(group["state"] == "CREATED" and group["placement_group_id"].endswith(job) for group in groups)


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
    placed: Callable[[], int] = own_places
    """How many of this session's trials have been given their resources."""

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
            self.warn(f"no trial could begin for {duration(waited)}: {self._why()}")

    def _why(self) -> str:
        placed = self.placed()
        if placed:
            # What is in use is then the sweep's own.
            whose = "the process of one has" if placed == 1 else f"the processes of {placed} have"
            return f"{whose} a place and still start, which takes long on a busy machine or a slow disk"
        there, free = self.there(), self.free()
        return (
            f"each needs {self.cpus:g} CPU cores and {self.gpus:g} GPUs; free are {free.get('CPU', 0):g} of "
            f"{there.get('CPU', 0):g} cores and {free.get('GPU', 0):g} of {there.get('GPU', 0):g} GPUs. Others use the "
            "cluster, or its machines still start (ray status); --address local runs on this machine alone"
        )

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into a file that nobody reads; see StudySearcher.
        return {}
