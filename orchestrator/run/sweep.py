"""Starts, resumes or extends a sweep, all by the same call.

Data flow: config -> study (chooses trials) -> backend (runs them) -> recorder (writes rows, then the study). All data that
must outlive the driver is on the sweep's storage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution
from rich.console import Console

from orchestrator.config import Assignment, SweepConfig
from orchestrator.costs.ledger import CostLedger
from orchestrator.costs.limit import SpendingLimit
from orchestrator.costs.pricing import prices_of
from orchestrator.inputs.own_code import check_code, read_code
from orchestrator.monitor.live import warnings_shown
from orchestrator.monitor.webhook import Notifier, webhook
from orchestrator.output import Output
from orchestrator.results import ResultWriter
from orchestrator.run.backend import Backend
from orchestrator.run.checks import check_before_start, check_checkpoints
from orchestrator.run.inline import inline_backend
from orchestrator.run.outage import naming_storage, wait_for_storage
from orchestrator.run.session import Session
from orchestrator.run.signals import PROCESS_SIGNALS, Signals
from orchestrator.search.recovery import rebuild_study, restore_rows
from orchestrator.search.space import resolve_domains, values_in
from orchestrator.search.study import open_study
from orchestrator.search.workload import Workload, failed_cases
from orchestrator.storage import SweepStore, open_storage, shown
from search_spaces import SearchSpace
from trainables.errors import StorageOutageError
from trainables.system.clock import SYSTEM_CLOCK, Clock
from trainables.system.own_files import OwnFile

BackendName = Literal["ray", "inline"]


@dataclass(frozen=True, kw_only=True)
class BackendChoice:
    """The backend that a session opens, with its options."""

    name: BackendName = "ray"
    address: str | None = None
    """Address of the Ray cluster, for ``ray`` only: see ``cluster.session.ray_session``."""

    concurrency: int | None = None
    """Largest number of trials at once. None means as many as the machines hold on Ray, and one for ``inline``."""

    def open(self, code: Sequence[OwnFile]) -> AbstractContextManager[Backend]:
        """Open the backend for the length of a block.

        Args:
            code: The user's own files that trials run.

        Raises:
            ClusterError: Ray cannot be reached at the address.
            ConfigError: a node of the cluster cannot run one of the files.
        """
        if self.name == "inline":
            return inline_backend(concurrency=self.concurrency or 1)
        from orchestrator.run.ray_backend import ray_backend  # imports Ray, which may not be installed

        return ray_backend(self.address, concurrency=self.concurrency, code=code)


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """How a session ended. ``finished`` is false if the session was interrupted or the budget is used up."""

    sweep_id: str
    finished: bool
    out_of_budget: str = ""
    """The amount spent, if the budget allows no further trial; else empty."""


def run_sweep(
    sweep: SweepConfig,
    *,
    sweep_id: str | None = None,
    backend: BackendChoice | None = None,
    console: Console | None = None,
    completed_elsewhere: Mapping[Assignment, str] | None = None,
    until: Mapping[str, int] | None = None,
    trusted_code: Collection[str] = (),
    clock: Clock = SYSTEM_CLOCK,
    signals: Signals = PROCESS_SIGNALS,
) -> SweepOutcome:
    """Run the remaining trials of a sweep: all of them, the rest after an interruption, or added trials.

    When storage is unavailable for longer than requests are retried, the session ends, and a new session starts once storage
    answers again.

    Args:
        sweep: Config of the sweep.
        sweep_id: Id of the sweep on its storage. None means that the id is derived from the config.
        backend: Backend that runs the trials. Defaults to Ray: a running cluster, else this machine.
        console: Console on which progress is shown. Defaults to standard output.
        completed_elsewhere: In a sweep of cases, assignments that need no trial, each with the ``SWEEP/TRIAL`` of another
            sweep on this storage that has it.
        until: Values of metrics at which trials end before they have used their whole budget, as ``{"pseudo_batches": 70}``.
            None means that trials use their whole budget.
        trusted_code: SHA-256 checksums of the user's own files that may run although the sweep began with other files, or
            although they come from the sweep's copies: see ``check_code``.
        clock: Clock of everything that does not run in a process of its own: for durations, waits and dates.
        signals: Source of the signals that end the session.

    Raises:
        ConfigError: the space does not fit the config, or a trial does not fit the cluster.
        SweepMismatchError: the id belongs to a sweep with other settings, or of an earlier version.
        CheckpointError: trials were left running by a version whose checkpoints this version cannot read.
        SweepBusyError: another process is running the sweep.
        ClusterError: Ray cannot be reached at the address.
        SweepStoppedError: the sweep was interrupted during an outage of storage.
        StorageError, DataUnavailableError, TeacherError: storage, images or teacher cannot be used; the message says why.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    resolved = resolve_domains(sweep)
    sweep_store = SweepStore(replace(open_storage(sweep.storage), clock=clock), sweep_id or sweep.default_sweep_id)
    console = console or Console()
    say = Output(console).say
    notifier = Notifier(url=webhook(sweep.notify), sweep_store=sweep_store, warn=say)
    with naming_storage(sweep.storage), sweep_store.lock(), notifier.watching(), signals.terminate_like_interrupt():
        while True:
            try:
                return _run_session(
                    sweep,
                    sweep_store,
                    resolved,
                    notifier,
                    backend=backend or BackendChoice(),
                    console=console,
                    completed_elsewhere=completed_elsewhere,
                    until=until,
                    trusted_code=trusted_code,
                    clock=clock,
                    signals=signals,
                )
            except StorageOutageError as error:
                if sweep.storage.pause_seconds != 0:
                    notifier.paused(shown(sweep.storage))
                wait_for_storage(sweep_store.storage, sweep.storage, error, say=say, clock=clock, signals=signals)


def _run_session(
    sweep: SweepConfig,
    sweep_store: SweepStore,
    resolved: tuple[SearchSpace, dict[str, BaseDistribution]],
    notifier: Notifier,
    *,
    backend: BackendChoice,
    console: Console,
    completed_elsewhere: Mapping[Assignment, str] | None,
    until: Mapping[str, int] | None,
    trusted_code: Collection[str],
    clock: Clock,
    signals: Signals,
) -> SweepOutcome:
    """Run one session of a locked sweep.

    Raises:
        StorageOutageError: storage was unavailable for too long. ``run_sweep`` lists further errors.
    """
    space, domains = resolved
    say = Output(console).say
    with warnings_shown(console):
        sweep = check_before_start(sweep, sweep_store, domains)
        code = read_code(sweep, values_in(space, sweep.trial, domains))
        check_code(sweep_store, code, trusted_code=trusted_code, say=say)
        study = open_study(sweep_store, modes=sweep.directions.values())
        if not study.get_trials(deepcopy=False) and (found := rebuild_study(study, sweep_store, sweep, domains)):
            say(
                f"warning: the study of {sweep_store.sweep_id} was lost; rebuilt it with {found} trials from their records"
            )
        check_checkpoints(sweep_store, study, say=say)
        restore_rows(sweep_store, study, sweep, say=say)
        session = Session(
            sweep=sweep,
            sweep_store=sweep_store,
            space=space,
            domains=domains,
            study=study,
            writer=ResultWriter(sweep_store),
            console=console,
            workload=Workload(
                sweep=sweep,
                study=study,
                completed_elsewhere=completed_elsewhere or {},
                failed=failed_cases(sweep_store),
                space=space,
            ),
            limit=SpendingLimit(budget=sweep.budget, ledger=CostLedger(prices=prices_of(sweep), clock=clock), say=say),
            code=code,
            until=until,
            clock=clock,
            signals=signals,
        )
        session.say_start()
        session.recall_expenses()
        if not session.workload.finished and session.limit.allows_another(()):
            try:
                with backend.open(code) as opened:
                    session.run(opened)
            except KeyboardInterrupt:
                pass  # before or after trials ran: while they run, the backend handles Ctrl-C
            if session.workload.finished and session.workload.used_up:
                say(session.workload.used_up)
            notifier.ended(finished=session.workload.finished, out_of_budget=session.out_of_budget)
        if session.workload.finished:
            session.writer.compact()
        return SweepOutcome(
            sweep_id=sweep_store.sweep_id, finished=session.workload.finished, out_of_budget=session.out_of_budget
        )
