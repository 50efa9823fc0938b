"""Notices that no trial can begin, and says why: else a sweep on a cluster that others fill looks as if it hung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.formatting import duration
from orchestrator.run.callbacks.base import TrialCallback
from trainables.system.clock import SYSTEM_CLOCK, Clock

PATIENCE_SECONDS = 60.0
"""A trial's process takes some seconds to start; one that is not there by then has no room."""


@dataclass(kw_only=True, eq=False)
class PendingWatchdog(TrialCallback):
    """Watches whether any trial of one session runs."""

    cpus: float
    """CPU cores that a trial needs."""

    gpus: float
    """GPUs that it needs."""

    warn: Callable[[str], None]
    there: Callable[[], Mapping[str, float]]
    """What the cluster has, by resource, as Ray names them."""

    free: Callable[[], Mapping[str, float]]
    """What of it is free."""

    placed: Callable[[], int]
    """How many of this session's trials have been given their resources."""

    clock: Clock = SYSTEM_CLOCK
    _since: float | None = None
    """Since when trials wait and none runs; none: they do not."""

    _said: bool = field(default=False)

    def on_step(self, *, running: int, waiting: int) -> None:
        """Say once why trials have waited for long while none runs."""
        if running or not waiting:
            self._since, self._said = None, False
            return
        now = self.clock.monotonic()
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
