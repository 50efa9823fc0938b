"""What the work of a session runs on: its trials, and what is done before the first of them."""

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
    """The trials of one session, for a backend to run."""

    sweep: SweepConfig
    """With the resources that a trial gets."""

    sweep_id: str
    search: SweepSearch
    """Says which trial is next, as long as the session's ``health`` is good."""

    rule: StoppingRule | None
    """Stops trials early; None where no trial is stopped while it runs."""

    callbacks: Sequence[TrialCallback]
    """What follows the trials, in the order in which they are told."""

    inputs: TrialInputs
    storage: TrialStorage
    warn: Callable[[str], None]
    clock: Clock = SYSTEM_CLOCK
    """Of the session. Trials in processes of their own have the clocks of their machines."""

    signals: Signals = PROCESS_SIGNALS
    """Interrupt the trials."""

    until: Mapping[str, int] = field(default_factory=dict)
    """Values of metrics at which a trial ends that is not to use its whole budget."""

    def stops(self, trial: SweepTrial, result: Mapping[str, Any]) -> bool:
        """Whether a trial that could go on ends with a report: no more of it is wanted, or it is stopped early.

        Args:
            trial: Is asked about at each of its reports but the last, in their order.
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
    """What one session runs on, from its tasks to its trials."""

    @property
    def cpus(self) -> float:
        """CPU cores that are there now."""

    @property
    def gpus(self) -> float:
        """GPUs that are there now."""

    @property
    def hosts(self) -> int:
        """Machines that are there or may be started."""

    @property
    def capacity(self) -> Capacity:
        """The machines that are there or may be started, by what each holds."""

    @property
    def gpu_pool(self) -> Gpus | None:
        """GPUs that trials may share; None where each trial has what there is."""

    @property
    def keeps_terminal(self) -> bool:
        """Whether the terminal is the session's alone, so that a table may be drawn there; a debugger may want it too."""

    def machine(self, node_id: str) -> Machine | None:
        """Return what a node is that is or was there, by the id in a trial's ``Allocation``; None if it is not known."""

    def machines(self) -> set[Machine]:
        """Return the kinds of machine on which trials may run."""

    def run_trials(self, work: TrialWork) -> bool:
        """Run trials until none is left, the session's health is gone, or it is interrupted.

        What is left then goes on in the next session, from its checkpoints.

        Returns:
            Whether it was interrupted, by Ctrl-C or SIGTERM.
        """
