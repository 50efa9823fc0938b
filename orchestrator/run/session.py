"""One session of a sweep on a cluster: from the study to Tune, and from what trials report to rows and the study."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import ray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from rich.console import Console

from cluster.session import RaySession
from orchestrator.config import SweepConfig
from orchestrator.costs.limit import SpendingLimit
from orchestrator.errors import ConfigError
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.monitor.live import Progress
from orchestrator.output import Output
from orchestrator.results import ResultWriter, SweepResults
from orchestrator.results.schema import OUT_OF_BUDGET
from orchestrator.results.sessions import session_row
from orchestrator.run.backend import TrialWork
from orchestrator.run.callbacks.base import TrialCallback
from orchestrator.run.callbacks.pending import PendingWatchdog
from orchestrator.run.callbacks.recorder import SweepRecorder
from orchestrator.run.callbacks.watchdog import StallWatchdog
from orchestrator.run.checks import (
    check_countable,
    check_precision_here,
    check_same_teachers,
    check_shared_storage,
)
from orchestrator.run.gpu_sharing import Sharing
from orchestrator.run.gpu_sharing_measurement import settle_sharing
from orchestrator.run.outage import stopped
from orchestrator.run.ray_backend import ask_node, own_places
from orchestrator.run.tune import run_trials
from orchestrator.schedulers.base import StoppingRule
from orchestrator.search.outcomes import ended_state
from orchestrator.search.space import published_settings
from orchestrator.search.study import SweepStudy, ended_trials, past_reports
from orchestrator.search.sweep_search import SessionHealth, SweepSearch
from orchestrator.search.warm_start import past_trials
from orchestrator.search.workload import Agenda
from orchestrator.storage import SweepStore, layout, shown
from search_spaces import SearchSpace
from trainables.profiling.timing import flops_per_second
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.students import StudentStore
from trainables.trial import TrialInputs, TrialStorage


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A checked sweep with its places open."""

    sweep: SweepConfig
    sweep_store: SweepStore
    space: SearchSpace
    domains: dict[str, BaseDistribution]
    study: SweepStudy
    writer: ResultWriter
    console: Console
    agenda: Agenda
    limit: SpendingLimit
    until: Mapping[str, int] | None = None
    """See ``run_sweep``."""

    past: Mapping[str, FrozenTrial] | None = None
    """Trials of other sweeps that inform the sampler, by ``SWEEP/TRIAL``; none: not settled yet."""

    may_share: bool = False
    """Whether ``gpu: auto`` leaves open how many trials share a GPU."""

    sharing: Sharing | None = None
    """What was measured of trials that share one; none: nothing, or not settled yet."""

    @property
    def out_of_budget(self) -> str:
        """What has been spent, where that is why trials are left; else empty."""
        return self.limit.spent if self.limit.exhausted and not self.agenda.finished else ""

    def say(self, line: str) -> None:
        Output(self.console).say(line)

    def say_start(self) -> None:
        self.say(f"sweep {self.sweep_store.sweep_id}: {self.agenda.sentence(kept_in=shown(self.sweep.storage))}")
        outside = self.domains.keys() - self._published_settings().keys()
        if outside:
            names = ", ".join(sorted(outside))
            self.say(f"the first trial has the published settings, but for {names}: outside of what is searched")

    def recall_expenses(self) -> None:
        """Count what earlier sessions have spent.

        Raises:
            ConfigError: there is a limit and they cannot be counted.
        """
        results = SweepResults(self.sweep_store)
        self.limit.expenses.recall(results.trials(), results.reports())
        if self.sweep.budget and self.sweep.budget.usd is not None and self.limit.expenses.total.usd is None:
            raise ConfigError(
                "budget: {usd: ...}: some trials of this sweep ran on machines without a price; leave it out, or begin anew "
                "with --sweep-id and prices:"
            )

    def on_cluster(self, session: RaySession) -> Driver:
        """The same with resources that fit the cluster, where they were left open."""
        self.limit.expenses.machine = session.machine
        sweep = self.sweep.on_cluster(gpus=session.capacity.largest_gpus)
        was_open = self.sweep.resources.gpu == "auto"
        if was_open and not sweep.gpus_per_trial:
            self.say("no GPU in this cluster: trials run on its CPUs")
        return replace(self, sweep=sweep, may_share=was_open and sweep.gpus_per_trial > 0)

    def run_session(self, session: RaySession) -> None:
        """Everything between connecting to Ray and leaving it."""
        self._concurrency(session)  # what fits nowhere is refused before anything is done
        check_shared_storage(self.sweep, session)
        check_precision_here(self.sweep, self.domains, session)
        if self.sweep.budget is not None:
            check_countable(self.sweep, session.machines(), self.limit.expenses.prices)
        number = max((past.session for past in SweepResults(self.sweep_store).sessions()), default=-1) + 1
        started = datetime.now(UTC)
        self._write_session(number, "started", session, at=started)
        driver, event = self, "failed"
        try:
            inputs = prepare_inputs(
                self.sweep, self.sweep_store.storage, say=self.say, borrow_credentials=session.borrow_credentials
            )
            check_same_teachers(self.sweep_store, inputs)
            driver = self._settled(session)
            # Once more, before the first trial: what trials depend on is kept with the results and not with the study alone.
            driver._write_session(number, "started", session, at=started)
            driver._fit(inputs, session)
            event = "finished" if self.agenda.finished else OUT_OF_BUDGET if self.out_of_budget else "interrupted"
        except KeyboardInterrupt:
            event = "interrupted"
            raise
        finally:
            # The row about a failing storage may fail with it, and it is not worth another wait.
            with suppress(OSError, pa.ArrowException):
                patient = self.sweep_store if event == "finished" else self.sweep_store.with_patience(0)
                replace(driver, writer=ResultWriter(patient))._write_session(number, event, session)

    def _settled(self, session: RaySession) -> Driver:
        """The same with what a sweep's first session settles and later ones keep: what sharing a GPU brings, how fast its
        machines are, by which a budget in seconds is told in operations, and what the sampler learns from beside the
        sweep's own trials."""
        driver = self._with_shared_gpus(session) if self.may_share else self
        sweep = driver._with_known_budget()
        self.agenda.sweep = sweep
        return replace(driver, sweep=sweep, past=past_trials(self.sweep_store, sweep, self.domains, say=self.say))

    def _with_shared_gpus(self, session: RaySession) -> Driver:
        left = self.agenda.total - self.agenda.ended
        sharing, trials = settle_sharing(self.sweep, session, sweep_store=self.sweep_store, trials=left, say=self.say)
        return replace(self, sweep=self.sweep.with_resources(gpu=1 / trials), sharing=sharing)

    def _with_known_budget(self) -> SweepConfig:
        budget = self.sweep.equal_budget
        if budget is None or budget.is_known:
            return self.sweep
        speed = self.study.user_attrs.get("flops_per_second")  # where the first sessions of earlier versions kept it
        if speed is None:
            published = self.sweep.configs()[0]
            needs = {"cpus": self.sweep.resources.cpu, "gpus": self.sweep.gpus_per_trial}
            probe = ray.remote(num_cpus=needs["cpus"], num_gpus=needs["gpus"])(flops_per_second)
            speed = ray.get(probe.remote(published, **needs))
            if self.sharing is not None:  # the probe had nobody beside it
                together = round(1 / self.sweep.gpus_per_trial)
                speed *= self.sharing.ratio(together) / together
        self.say(
            f"a trial may train for {budget.amount} s, at {speed / 1e9:.3g} GFLOP/s as measured here at the beginning"
        )
        return self.sweep.with_speed(speed)

    def _published_settings(self) -> dict[str, Any]:
        return published_settings(self.domains, type(self.sweep.configs()[0]))

    def _fit(self, inputs: TrialInputs, session: RaySession) -> None:
        health = SessionHealth()
        search = SweepSearch(
            self.study,
            self.sweep,
            self.space,
            sweep_id=self.sweep_store.sweep_id,
            health=health,
            first=self._published_settings(),
            settled=self.agenda.settled,
            failed=self.agenda.failed,
            past=list((self.past or {}).values()),
            may_start=self.limit.allows_another,
            warn=self._warn,
        )
        progress = Progress(
            console=self.console,
            sweep=self.sweep,
            searched=["case", "seed"] if self.sweep.cases else list(self.domains),
            num_trials=lambda: self.agenda.total,
        )
        for trial in ended_trials(self.study):
            if trial.number in self.agenda.failed:
                continue  # the trial that takes its place is the one to be seen
            feasible = all(value <= 0 for value in trial.constraints.values())
            value = trial.values[0] if trial.values else None
            key, state = layout.trial_name(trial.number), ended_state(trial)
            progress.recall(key, trial.params, value, state=state, feasible=feasible)
        recorder = SweepRecorder(
            sweep=self.sweep,
            writer=self.writer,
            search=search,
            inputs=inputs,
            progress=progress,
            expenses=self.limit.expenses,
        )
        hung = StallWatchdog(self.sweep.hung, ask=ask_node)
        pending = PendingWatchdog(
            cpus=self.sweep.resources.cpu,
            gpus=self.sweep.gpus_per_trial,
            warn=self._warn,
            there=ray.cluster_resources,
            free=ray.available_resources,
            placed=own_places,
        )
        work = TrialWork(
            sweep=self.sweep,
            sweep_id=self.sweep_store.sweep_id,
            search=search,
            rule=self._rule(),
            callbacks=[recorder, hung, pending, *self._tensorboard()],
            inputs=inputs,
            storage=self._storage(),
            warn=self._warn,
            until=self.until or {},
        )
        with progress:
            interrupted = run_trials(
                work,
                folder=session.folder,
                concurrency=self._concurrency(session),
                explain=hung.explain,
                borrow_credentials=session.borrow_credentials,
            )
        if health.failure:
            if interrupted and not isinstance(health.failure, ConfigError):
                raise stopped(self.sweep.storage) from health.failure
            raise health.failure

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

    def _rule(self) -> StoppingRule | None:
        if self.sweep.objective is None:
            return None
        return self.sweep.scheduler.build(
            mode=self.sweep.mode, budget=self.sweep.trial_budget, past_reports=past_reports(self.study)
        )

    def _concurrency(self, session: RaySession) -> int:
        try:
            return session.capacity.trials(cpus=self.sweep.resources.cpu, gpus=self.sweep.gpus_per_trial)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _write_session(self, number: int, event: str, session: RaySession, *, at: datetime | None = None) -> None:
        self.writer.write_session(
            session_row(
                self.sweep,
                list(self.domains),
                number=number,
                event=event,
                cpus=session.cpus,
                gpus=session.gpus,
                domains=self.domains,
                informed_by=self.past,
                sharing_json=self.sharing.model_dump_json() if self.sharing else None,
                at=at,
            )
        )
