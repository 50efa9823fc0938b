"""Warns, with the reason, when no trial can start: otherwise a sweep on a cluster used by others would seem to hang."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.formatting import duration
from orchestrator.run.callbacks.base import TrialCallback
from trainables.system.clock import SYSTEM_CLOCK, Clock

PATIENCE_SECONDS = 60.0
"""Seconds without a running trial before the warning. A process normally takes only a few seconds to start."""


@dataclass(kw_only=True, eq=False)
class PendingWatchdog(TrialCallback):
    """Warns when trials of a session are pending for long while none is running."""

    cpus: float
    """Number of CPU cores that a trial needs."""

    gpus: float
    """Number of GPUs that a trial needs."""

    warn: Callable[[str], None]
    there: Callable[[], Mapping[str, float]]
    """Function that returns the cluster's resources, by Ray's names."""

    free: Callable[[], Mapping[str, float]]
    """Function that returns the free resources of the cluster, by Ray's names."""

    placed: Callable[[], int]
    """Function that returns the number of this session's trials that have been given their resources."""

    clock: Clock = SYSTEM_CLOCK
    _since: float | None = None
    """Time since which trials have been waiting while none is running; None otherwise."""

    _said: bool = field(default=False)

    def on_step(self, *, running: int, waiting: int) -> None:
        """Warn once if trials have been waiting for long while none is running."""
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
            # The used resources are then this sweep's own.
            whose = "the process of one has" if placed == 1 else f"the processes of {placed} have"
            return f"{whose} not started yet, though resources are reserved; this takes long on a busy machine or slow disk"
        there, free = self.there(), self.free()
        return (
            f"each needs {self.cpus:g} CPU cores and {self.gpus:g} GPUs; free are {free.get('CPU', 0):g} of "
            f"{there.get('CPU', 0):g} cores and {free.get('GPU', 0):g} of {there.get('GPU', 0):g} GPUs. Others are using "
            "the cluster, or its machines are still starting (ray status); --address local runs on this machine alone"
        )
