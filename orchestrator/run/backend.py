"""Interface of the backends, which run a session's trials and the tasks before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.capacity import Capacity
from cluster.prices import Machine
from orchestrator.config import SweepConfig
from orchestrator.errors import naming
from orchestrator.inputs.tasks import TaskRunner
from orchestrator.run.callbacks.base import TrialCallback
from orchestrator.run.gpu_sharing import Gpus
from orchestrator.run.signals import PROCESS_SIGNALS, Signals
from orchestrator.schedulers.base import Decision, StoppingRule
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.search.trial_queue import SweepTrial
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.trial import TrialInputs, TrialStorage


@dataclass(frozen=True, kw_only=True)
class TrialWork:
    """The trials of one session, as a backend gets them."""

    sweep: SweepConfig
    """Config of the sweep, including the resources of a trial."""

    sweep_id: str
    search: SweepSearch
    """The search, which suggests the next trial until its ``health`` has a failure."""

    rule: StoppingRule | None
    """Rule that stops trials early; None if trials are not stopped early."""

    callbacks: Sequence[TrialCallback]
    """Callbacks that follow the trials, in the order in which they are called."""

    inputs: TrialInputs
    storage: TrialStorage
    warn: Callable[[str], None]
    clock: Clock = SYSTEM_CLOCK
    """Clock of the session. Trials in processes of their own use their machines' clocks."""

    signals: Signals = PROCESS_SIGNALS
    """Source of the signals that interrupt the trials."""

    until: Mapping[str, int] = field(default_factory=dict)
    """Values of metrics at which a trial is ended before it has used its whole budget; empty for no such values."""

    def stops(self, trial: SweepTrial, result: Mapping[str, Any]) -> bool:
        """Return whether a trial ends with a report before its end: by ``until``, or by early stopping.

        Must be called for each report of the trial but the last, in their order.

        Args:
            trial: The trial.
            result: The report.
        """
        if any(result.get(name, 0) >= value for name, value in self.until.items()):
            return True
        objective = self.sweep.objective
        if self.rule is None or objective is None:
            return False
        used = self.sweep.budget_used(trial.config, result)
        with self.search.health.capture_errors(), naming(f"scheduler {self.sweep.scheduler.name}"):
            return self.rule.on_report(trial.key, used, result.get(objective)) is Decision.STOP
        return False


class Backend(TaskRunner, Protocol):
    """Interface of a backend (Ray, or the program's own process), which runs one session's tasks and trials."""

    @property
    def cpus(self) -> float:
        """Number of CPU cores available now."""

    @property
    def gpus(self) -> float:
        """Number of GPUs available now."""

    @property
    def hosts(self) -> int:
        """Number of machines that are running or may be started."""

    @property
    def capacity(self) -> Capacity:
        """The machines that are running or may be started, with the resources of each."""

    @property
    def gpu_pool(self) -> Gpus | None:
        """The GPUs that trials may share; None if the backend does not let trials share GPUs."""

    @property
    def keeps_terminal(self) -> bool:
        """Whether the session alone uses the terminal, so that it may draw a table. False if a debugger may need it."""

    def machine(self, node_id: str) -> Machine | None:
        """Return the machine of a present or former node, by the node id in a trial's ``Allocation``; None if unknown."""

    def machines(self) -> set[Machine]:
        """Return the kinds of machine on which trials may run."""

    def run_trials(self, work: TrialWork) -> bool:
        """Run trials until none is left, the session has failed, or the session is interrupted.

        Unfinished trials are resumed from their checkpoints by the next session.

        Returns:
            Whether the session was interrupted, by Ctrl-C or SIGTERM.
        """
