"""Start, continue or extend a sweep: the same call.

Data flow: config -> study (which trials, what is known) -> backend (runs them) -> recorder (rows, then study). Everything
that must outlive the driver is on the sweep's storage.
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
    """Which backend a session opens."""

    name: BackendName = "ray"
    address: str | None = None
    """Of ``ray``: see ``cluster.session.ray_session``."""

    concurrency: int | None = None
    """Trials at once at most. Defaults to what the machines hold on Ray, and to one in this process."""

    def open(self, code: Sequence[OwnFile]) -> AbstractContextManager[Backend]:
        """Hold the backend for the length of a block.

        Args:
            code: Files of the user's own that trials run.

        Raises:
            ClusterError: there is no Ray at the address.
            ConfigError: a machine of the cluster cannot run one of those files.
        """
        if self.name == "inline":
            return inline_backend(concurrency=self.concurrency or 1)
        from orchestrator.run.ray_backend import ray_backend  # brings Ray, which may not even be installed

        return ray_backend(self.address, concurrency=self.concurrency, code=code)


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """How a session ended; ``finished`` is false if it was interrupted or what it may spend is used up."""

    sweep_id: str
    finished: bool
    out_of_budget: str = ""
    """What has been spent, where no trial may start; else empty."""


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
    """Run what is left of a sweep: all of it, the rest after an interruption, or the trials that were added.

    When storage is away for longer than patience lasts, the session ends, and another begins once storage is back.

    Args:
        sweep: What to run.
        sweep_id: Name of the sweep on its storage; none: made from the config.
        backend: What runs it. Defaults to Ray: a cluster that is there, else this machine.
        console: Where progress is shown; none: standard output.
        completed_elsewhere: Of a sweep of cases, what need not be run, because another sweep on this storage has it:
            that one's ``SWEEP/TRIAL``.
        until: Where trials end that are not to use their whole budget: values of metrics, as ``{"pseudo_batches": 70}``.
        trusted_code: SHA-256 of files of the user's own that may run though the sweep began with others, or from its copies:
            see ``check_code``.
        clock: By which everything is timed, waited for and dated that does not run in a process of its own.
        signals: Say when the sweep is to end.

    Raises:
        ConfigError: the space does not fit the config, or a trial does not fit the cluster.
        SweepMismatchError: the id belongs to a sweep with other settings, or of an earlier version.
        CheckpointError: trials were left running by a version whose checkpoints this one cannot read.
        SweepBusyError: another process is running the sweep.
        ClusterError: there is no Ray at the address.
        SweepStoppedError: it was interrupted while storage was away.
        StorageError, DataUnavailableError, TeacherError: what they say.
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
    """One session of a sweep that is locked.

    Raises:
        StorageOutageError: storage was away for too long; and whatever ``run_sweep`` raises.
    """
    space, domains = resolved
    say = Output(console).say
    with warnings_shown(console):
        sweep = check_before_start(sweep, sweep_store, domains)
        code = read_code(sweep, values_in(space, sweep.trial, domains))
        check_code(sweep_store, code, trusted_code=trusted_code, say=say)
        study = open_study(sweep_store, modes=sweep.directions.values())
        if not study.get_trials(deepcopy=False) and (found := rebuild_study(study, sweep_store, sweep, domains)):
            say(f"warning: the study of {sweep_store.sweep_id} was lost; made it anew from the rows of {found} trials")
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
                pass  # before or after trials ran, for which the backend has its own answer to Ctrl-C
            if session.workload.finished and session.workload.used_up:
                say(session.workload.used_up)
            notifier.ended(finished=session.workload.finished, out_of_budget=session.out_of_budget)
        if session.workload.finished:
            session.writer.compact()
        return SweepOutcome(
            sweep_id=sweep_store.sweep_id, finished=session.workload.finished, out_of_budget=session.out_of_budget
        )
