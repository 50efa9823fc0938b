"""One session of a sweep: runs the trials of a checked sweep on any backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
from optuna.distributions import BaseDistribution
from rich.console import Console

from orchestrator.config import SweepConfig
from orchestrator.costs.limit import SpendingLimit
from orchestrator.errors import ConfigError, ZsktError, naming
from orchestrator.inputs.own_code import keep_code
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.monitor.live import Progress
from orchestrator.output import Output
from orchestrator.results import ResultWriter, SessionEvent, SweepResults
from orchestrator.results.sessions import session_row
from orchestrator.run.backend import Backend, TrialWork
from orchestrator.run.calibration import Calibration, calibrate
from orchestrator.run.callbacks.base import TrialCallback
from orchestrator.run.callbacks.recorder import SweepRecorder
from orchestrator.run.checks import (
    check_countable,
    check_precision_here,
    check_same_teachers,
    check_shared_storage,
)
from orchestrator.run.outage import stopped
from orchestrator.run.signals import PROCESS_SIGNALS, Signals
from orchestrator.schedulers.base import StoppingRule
from orchestrator.search.outcomes import ended_state
from orchestrator.search.space import published_settings
from orchestrator.search.study import SweepStudy, ended_trials, past_reports
from orchestrator.search.sweep_search import SessionHealth, SweepSearch
from orchestrator.search.workload import Workload
from orchestrator.storage import SweepStore, layout, shown
from search_spaces import SearchSpace
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.students import StudentStore
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.system.own_files import OwnFile
from trainables.trial import TrialInputs, TrialStorage


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session of a checked sweep, whose study and storage are open. Values that it measures form a ``Calibration``."""

    sweep: SweepConfig
    sweep_store: SweepStore
    space: SearchSpace
    domains: dict[str, BaseDistribution]
    study: SweepStudy
    writer: ResultWriter
    console: Console
    workload: Workload
    limit: SpendingLimit
    code: Sequence[OwnFile] = ()
    """The user's own files that the trials run."""

    until: Mapping[str, int] | None = None
    """Values of metrics at which trials end early: see ``run_sweep``."""

    health: SessionHealth = field(default_factory=SessionHealth)
    clock: Clock = SYSTEM_CLOCK
    signals: Signals = PROCESS_SIGNALS

    @property
    def out_of_budget(self) -> str:
        """The amount spent, if trials are left because the budget is used up; else empty."""
        return self.limit.spent if self.limit.exhausted and not self.workload.finished else ""

    def say(self, line: str) -> None:
        Output(self.console).say(line)

    def say_start(self) -> None:
        self.say(f"sweep {self.sweep_store.sweep_id}: {self.workload.sentence(kept_in=shown(self.sweep.storage))}")
        outside = self.domains.keys() - self._published_settings().keys()
        if outside:
            names = ", ".join(sorted(outside))
            self.say(f"the first trial has the published settings, except for {names}: outside of the search space")

    def recall_expenses(self) -> None:
        """Add the expenses of earlier sessions to the ledger.

        Raises:
            ConfigError: the budget limits USD, but earlier expenses are unknown since a machine had no price.
        """
        results = SweepResults(self.sweep_store)
        self.limit.ledger.recall(results.trials(), results.reports())
        if self.sweep.budget and self.sweep.budget.usd is not None and self.limit.ledger.total.usd is None:
            raise ConfigError(
                "budget: {usd: ...}: some trials of this sweep ran on machines without a price; leave the limit out, or "
                "start a new sweep with --sweep-id and prices:"
            )

    def run(self, backend: Backend) -> None:
        """Run the remaining trials of the sweep on an open backend.

        Raises:
            ConfigError: a trial does not fit on any machine. ``run_sweep`` lists further errors.
        """
        self.limit.ledger.machine = backend.machine
        sweep = self.sweep.on_cluster(gpus=backend.capacity.largest_gpus)
        was_open = self.sweep.resources.gpu == "auto"
        if was_open and not sweep.gpus_per_trial:
            self.say("no GPU in this cluster: trials run on its CPUs")
        self._check(sweep, backend)
        number = max((past.session for past in SweepResults(self.sweep_store).sessions()), default=-1) + 1
        keep_code(self.sweep_store, self.code)
        started = self.clock.now()
        settled, event = Calibration(sweep=sweep, past=None), SessionEvent.FAILED
        self._write_session(number, SessionEvent.STARTED, settled, backend, at=started)
        try:
            inputs = prepare_inputs(sweep, self.sweep_store.storage, tasks=backend, say=self.say, clock=self.clock)
            check_same_teachers(self.sweep_store, inputs)
            settled = calibrate(
                sweep,
                backend,
                sweep_store=self.sweep_store,
                study=self.study,
                domains=self.domains,
                trials=self.workload.total - self.workload.ended,
                may_share=was_open and sweep.gpus_per_trial > 0,
                say=self.say,
            )
            self.workload.sweep = settled.sweep
            # Written again before the first trial: values on which trials depend are stored with the results as well.
            self._write_session(number, SessionEvent.STARTED, settled, backend, at=started)
            self._run_trials(settled, inputs, backend)
            event = self._end()
        except KeyboardInterrupt:
            event = SessionEvent.INTERRUPTED
            raise
        finally:
            # If storage fails, writing this row may fail as well, and is not worth another wait.
            with suppress(OSError, pa.ArrowException):
                waits = event is SessionEvent.FINISHED
                self._write_session(number, event, settled, backend, at=self.clock.now(), waits=waits)

    def _end(self) -> SessionEvent:
        """Return the end event of a session that has ended without an error."""
        if self.workload.finished:
            return SessionEvent.FINISHED
        return SessionEvent.OUT_OF_BUDGET if self.out_of_budget else SessionEvent.INTERRUPTED

    def _check(self, sweep: SweepConfig, backend: Backend) -> None:
        """Refuse trials that fit on no machine, and settings that do not fit the backend, before anything is done."""
        try:
            backend.capacity.trials(cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        check_shared_storage(sweep, hosts=backend.hosts)
        check_precision_here(sweep, self.domains, hosts=backend.hosts)
        if sweep.budget is not None:
            check_countable(sweep, backend.machines(), self.limit.ledger.prices)

    def _published_settings(self) -> dict[str, Any]:
        return published_settings(self.domains, type(self.sweep.configs()[0]))

    def _run_trials(self, settled: Calibration, inputs: TrialInputs, backend: Backend) -> None:
        sweep = settled.sweep
        search = SweepSearch(
            self.study,
            sweep,
            self.space,
            sweep_id=self.sweep_store.sweep_id,
            health=self.health,
            first=self._published_settings(),
            completed_elsewhere=self.workload.completed_elsewhere,
            failed=self.workload.failed,
            past=list((settled.past or {}).values()),
            may_start=self.limit.allows_another,
            files=[file.name for file in self.code],
            warn=self._warn,
        )
        progress = Progress(
            console=self.console,
            sweep=sweep,
            searched=["case", "seed"] if sweep.cases else list(self.domains),
            num_trials=lambda: self.workload.total,
            draws_table=backend.keeps_terminal,
            clock=self.clock,
        )
        for trial in ended_trials(self.study):
            if trial.number in self.workload.failed:
                continue  # the trial that replaces it is shown instead
            feasible = all(value <= 0 for value in trial.constraints.values())
            value = trial.values[0] if trial.values else None
            key, state = layout.trial_name(trial.number), ended_state(trial)
            progress.recall(key, trial.params, value, state=state, feasible=feasible)
        recorder = SweepRecorder(
            sweep=sweep,
            writer=self.writer,
            search=search,
            inputs=inputs,
            progress=progress,
            ledger=self.limit.ledger,
            clock=self.clock,
        )
        work = TrialWork(
            sweep=sweep,
            sweep_id=self.sweep_store.sweep_id,
            search=search,
            rule=self._rule(sweep),
            callbacks=[recorder, *self._tensorboard()],
            inputs=inputs,
            storage=self._storage(),
            warn=self._warn,
            clock=self.clock,
            signals=self.signals,
            until=self.until or {},
        )
        with progress:
            interrupted = backend.run_trials(work)
        failure = self.health.failure
        if failure:
            if interrupted and not isinstance(failure, ZsktError):
                raise stopped(sweep.storage) from failure
            raise failure

    def _warn(self, line: str) -> None:
        self.say(f"warning: {line}")

    def _tensorboard(self) -> list[TrialCallback]:
        if not self.sweep.tensorboard:
            return []
        from orchestrator.run.callbacks.tensorboard import TensorBoardWriter  # slow to import

        folder = self.sweep_store.tensorboard_folder
        self.say(f"TensorBoard files: {folder}")
        return [TensorBoardWriter(folder)]

    def _storage(self) -> TrialStorage:
        places = self.sweep_store
        return TrialStorage(
            sweep_id=places.sweep_id,
            checkpoints=CheckpointStore(places.checkpoints, keep=self.sweep.checkpoints_kept),
            students=StudentStore(places.students),
            curves=places.transition_curves,
            snapshots=places.snapshots,
        )

    def _rule(self, sweep: SweepConfig) -> StoppingRule | None:
        if sweep.objective is None:
            return None
        past = past_reports(self.study)
        with naming(f"scheduler {sweep.scheduler.name}"):
            return sweep.scheduler.build(mode=sweep.mode, budget=sweep.trial_budget, past_reports=past)

    def _write_session(
        self,
        number: int,
        event: SessionEvent,
        settled: Calibration,
        backend: Backend,
        *,
        at: datetime,
        waits: bool = True,
    ) -> None:
        """Write a row about the start or end of the session; ``waits`` says whether failed requests are retried."""
        impatient = ResultWriter(self.sweep_store.with_patience(0))
        row = session_row(
            settled.sweep,
            list(self.domains),
            number=number,
            event=event,
            cpus=backend.cpus,
            gpus=backend.gpus,
            domains=self.domains,
            informed_by=settled.past,
            sharing_json=settled.sharing.model_dump_json() if settled.sharing else None,
            code=self.code,
            at=at,
        )
        (self.writer if waits else impatient).write_session(row)
