"""Start, continue or extend a sweep: the same call.

Data flow: config -> study (which trials, what is known) -> Tune (runs them) -> recorder (rows, then study). Everything
that must outlive the driver is on the sweep's storage; Tune's own folder is scratch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import optuna
import pyarrow as pa
import ray
from optuna.distributions import BaseDistribution
from ray import tune
from rich.console import Console

from cluster.preemption import leaving
from cluster.session import NoClusterError, RaySession, ray_session
from orchestrator.callbacks import StorageStopper, SweepRecorder, parse_settings
from orchestrator.config import SHARED_FIELDS, Assignment, SweepConfig
from orchestrator.environment import terminate_like_interrupt, tune_environment, warnings_shown
from orchestrator.errors import ClusterError, ConfigError, StorageError, SweepMismatchError
from orchestrator.expenses import Expenses
from orchestrator.hung import HungWatch
from orchestrator.inputs import prepare_inputs
from orchestrator.limit import SpendingLimit
from orchestrator.lock import sweep_lock
from orchestrator.market import prices_of
from orchestrator.notify import Notifier, webhook
from orchestrator.plan import flops_per_second
from orchestrator.progress import Progress
from orchestrator.provenance import session_row
from orchestrator.recovery import rebuild_study
from orchestrator.repair import restore_rows
from orchestrator.results import ResultWriter, keys, read_reports, read_sweeps, read_trials
from orchestrator.results.schema import OUT_OF_BUDGET
from orchestrator.samplers import check_sampler
from orchestrator.schedulers import BudgetScheduler, make_scheduler
from orchestrator.searcher import StudySearcher, assignment_of, published_settings, running_trials, survey_space
from orchestrator.storage import open_storage, shown
from orchestrator.study import ended_trials, open_study, past_reports
from orchestrator.warm_start import past_trials
from search_spaces import SearchSpace, resolve_space
from trainables.checkpoint import CheckpointStore
from trainables.config import INHERITED_FIELDS
from trainables.object_store import ObjectStore
from trainables.ray_trainables import GPUS, TrialTrainable
from trainables.trial import StudentStore, TrialInputs, TrialStorage


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
    address: str | None = None,
    console: Console | None = None,
    settled: Mapping[Assignment, str] | None = None,
) -> SweepOutcome:
    """Run what is left of a sweep: all of it, the rest after an interruption, or the trials that were added.

    Args:
        sweep: What to run.
        sweep_id: Name of the sweep on its storage; none: made from the config.
        address: See ``cluster.session.ray_session``.
        console: Where progress is shown; none: standard output.
        settled: Of a sweep of cases, what need not be run, because another sweep on this storage has it: that one's
            ``SWEEP/TRIAL``.

    Raises:
        ConfigError: the space does not fit the config, or a trial does not fit the cluster.
        SweepMismatchError: the id belongs to a sweep with other settings, or of an earlier version.
        CheckpointError: trials were left running by a version whose checkpoints this one cannot read.
        SweepBusyError: another process is running the sweep.
        ClusterError: there is no Ray at the address.
        StorageError, DataUnavailableError, TeacherError: what they say.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep_id = sweep_id or sweep.default_sweep_id
    space, domains = _surveyed_space(sweep)
    store = open_storage(sweep.storage)
    console = console or Console()
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    notifier = Notifier(url=webhook(sweep.notify), sweep_id=sweep_id, warn=say)
    with sweep_lock(store, sweep_id), warnings_shown(console), notifier.watching():
        _check_same_sweep(store, sweep_id, sweep)
        driver = _Driver(
            sweep=sweep,
            sweep_id=sweep_id,
            space=space,
            domains=domains,
            store=store,
            study=open_study(store, sweep_id, modes=sweep.directions.values()),
            writer=ResultWriter(store, sweep_id),
            console=console,
            settled=dict(settled or {}),
            limit=SpendingLimit(budget=sweep.budget, expenses=Expenses(prices=prices_of(sweep)), say=say),
        )
        driver.check_study()
        driver.check_checkpoints()
        restore_rows(store, driver.study, sweep, sweep_id, say=driver.say)
        driver = driver.with_failed_cases_again()
        driver.say_start()
        driver.recall_expenses()
        if not driver.finished and driver.limit.allows_another(()):
            try:
                with tune_environment(), ray_session(address) as session:
                    driver.on_cluster(session).run_session(session)
            except NoClusterError as error:
                raise ClusterError(f"{error}; check --address and RAY_ADDRESS, or use --address local") from error
            except (OSError, pa.ArrowException) as error:
                raise StorageError(
                    f"storage {shown(sweep.storage)} failed: {error}. Nothing that was written is lost and trials stay as "
                    "they were; once storage works again (is the disk full?), the same command goes on"
                ) from error
            except KeyboardInterrupt:
                pass  # before or after Tune ran, which has its own answer to Ctrl-C
            notifier.ended(store, finished=driver.finished, out_of_budget=driver.out_of_budget)
        if driver.finished:
            driver.writer.compact()
        return SweepOutcome(sweep_id=sweep_id, finished=driver.finished, out_of_budget=driver.out_of_budget)


@dataclass(frozen=True, kw_only=True)
class _Driver:
    """A checked sweep with its places open."""

    sweep: SweepConfig
    sweep_id: str
    space: SearchSpace
    domains: dict[str, BaseDistribution]
    store: ObjectStore
    study: optuna.Study
    writer: ResultWriter
    console: Console
    settled: dict[Assignment, str]
    limit: SpendingLimit
    failed: frozenset[int] = frozenset()
    """Of a sweep of cases, numbers of trials that failed in earlier sessions: their cases run once more."""

    @property
    def finished(self) -> bool:
        return self._ended >= self._total

    @property
    def out_of_budget(self) -> str:
        """What has been spent, where that is why trials are left; else empty."""
        return self.limit.spent if self.limit.exhausted and not self.finished else ""

    @property
    def _total(self) -> int:
        """Trials that this sweep is to have, in all sessions."""
        return self.sweep.num_trials - len(self.settled.keys() & set(self.sweep.assignments()))

    @property
    def _ended(self) -> int:
        """Those of them that have ended."""
        ended = [trial for trial in ended_trials(self.study) if trial.number not in self.failed]
        if not self.sweep.cases:
            return len(ended)
        wanted = set(self.sweep.assignments()) - self.settled.keys()
        return len(wanted & {assignment_of(trial) for trial in ended})

    @property
    def _running(self) -> int:
        """Those that an earlier session left before their end."""
        running = running_trials(self.study)
        if not self.sweep.cases:
            return len(running)
        return len(set(self.sweep.assignments()) & {assignment_of(trial) for trial in running})

    @property
    def _failed_before(self) -> int:
        """Those to be run of which a trial has failed."""
        trials = self.study.get_trials(deepcopy=False)
        failed = {assignment_of(trial) for trial in trials if trial.number in self.failed}
        others = {assignment_of(trial) for trial in trials if trial.number not in self.failed}
        return len(set(self.sweep.assignments()) & failed - others)

    def check_study(self) -> None:
        """Make a lost study anew from what else the storage holds."""
        if self.study.get_trials(deepcopy=False):
            return
        found = rebuild_study(self.study, self.store, self.sweep, self.sweep_id, self.domains)
        if found:
            self.say(f"warning: the study of {self.sweep_id} was lost; made it anew from the rows of {found} trials")

    def with_failed_cases_again(self) -> _Driver:
        """The same, cases that an error has ended still to be run: what was wrong may have been mended since.

        A search learns from failures, and goes on with other settings.
        """
        if not self.sweep.cases:
            return self
        rows = read_trials(self.store, self.sweep_id).to_pylist()
        return replace(self, failed=frozenset(row["trial_number"] for row in rows if row["state"] == "failed"))

    def check_checkpoints(self) -> None:
        """Refuse a session whose trials could not be continued: they would fail one after the other.

        One checkpoint tells of all: it is their format that may be another version's.

        Raises:
            CheckpointError: it is.
        """
        for trial in running_trials(self.study)[:1]:
            checkpoints = CheckpointStore(self.store.below(keys.checkpoint_folder(self.sweep_id)))
            checkpoints.load_newest(keys.trial_name(trial.number), warn=self.say)

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def say_start(self) -> None:
        ended, total = self._ended, self._total
        running = self._running
        line = f"sweep {self.sweep_id}: {total} trials, kept in {shown(self.sweep.storage)}"
        if self.finished:
            more = "--seeds" if self.sweep.cases else "--num-trials"
            line += f"; all of them have ended. More with {more}, the same anew with --sweep-id NAME"
        elif ended or running or self.failed:
            new = max(0, total - ended - running)
            line += f"; {ended} ended before, {running} go on from their checkpoints, {new} are new"
            line += f", {self._failed_before} of them because they failed before" if self._failed_before else ""
        self.say(line)
        outside = self.domains.keys() - self._published_settings().keys()
        if outside:
            names = ", ".join(sorted(outside))
            self.say(f"the first trial has the published settings, but for {names}: outside of what is searched")

    def recall_expenses(self) -> None:
        """Count what earlier sessions have spent.

        Raises:
            ConfigError: there is a limit and they cannot be counted.
        """
        rows, reports = (read(self.store, self.sweep_id).to_pylist() for read in (read_trials, read_reports))
        self.limit.expenses.recall(rows, reports)
        if self.sweep.budget and self.sweep.budget.usd is not None and self.limit.expenses.total.usd is None:
            raise ConfigError(
                "budget: {usd: ...}: some trials of this sweep ran on machines without a price; leave it out, or begin anew "
                "with --sweep-id and prices:"
            )

    def on_cluster(self, session: RaySession) -> _Driver:
        """The same with resources that fit the cluster, where they were left open."""
        self.limit.expenses.machine = session.machine
        sweep = self.sweep.on_cluster(gpus=session.capacity.largest_gpus)
        if self.sweep.resources.gpu == "auto" and not sweep.gpus_per_trial:
            self.say("no GPU in this cluster: trials run on its CPUs")
        return replace(self, sweep=sweep)

    def run_session(self, session: RaySession) -> None:
        """Everything between connecting to Ray and leaving it."""
        concurrency = self._concurrency(session)
        self._check_storage_is_shared(session)
        self._check_countable(session)
        number = max(read_sweeps(self.store, self.sweep_id)["session"].to_pylist(), default=-1) + 1
        self._write_session(number, "started", session)
        event = "failed"
        try:
            inputs = prepare_inputs(self.sweep, self.store, say=self.say)
            self._check_same_teachers(inputs)
            self._with_known_budget()._fit(inputs, concurrency)
            event = "finished" if self.finished else OUT_OF_BUDGET if self.out_of_budget else "interrupted"
        except KeyboardInterrupt:
            event = "interrupted"
            raise
        finally:
            # The row about a failing storage may fail with it, and it is not worth another wait.
            with suppress(OSError, pa.ArrowException):
                patient = self.store if event == "finished" else replace(self.store, patience=0)
                replace(self, writer=ResultWriter(patient, self.sweep_id))._write_session(number, event, session)

    def _check_same_teachers(self, inputs: TrialInputs) -> None:
        """Refuse to go on with another teacher under the same name: a file that was overwritten, for example."""
        of_splits = ("dataset", "dataset_file", "validation_fraction", "split_seed")
        columns = [*of_splits, "teacher", "teacher_checkpoint", "normalisation", "teacher_seed"]
        earlier = {
            tuple(row["config_" + column] for column in columns): row["teacher_sha256"]
            for row in read_trials(self.store, self.sweep_id).to_pylist()
        }
        for (splits, *of_teacher), teacher in inputs.teachers.items():
            now = teacher.metadata
            then = earlier.get((*splits, *of_teacher), now.sha256)
            if then != now.sha256:
                raise SweepMismatchError(
                    f"sweep {self.sweep_id} began with another teacher {now.network} (sha256 {then} then, {now.sha256} "
                    "now); give this one a name of its own with --sweep-id"
                )

    def _with_known_budget(self) -> _Driver:
        """The same, a budget in seconds told in operations: measured on the cluster by a sweep's first session."""
        budget = self.sweep.equal_budget
        if budget is None or budget.is_known:
            return self
        speed = self.study.user_attrs.get(_SPEED)
        if speed is None:
            published = self.sweep.configs()[0]
            needs = {"cpus": self.sweep.resources.cpu, "gpus": self.sweep.gpus_per_trial}
            probe = ray.remote(num_cpus=needs["cpus"], num_gpus=needs["gpus"])(flops_per_second)
            speed = ray.get(probe.remote(published, **needs))
            self.study.set_user_attr(_SPEED, speed)
        self.say(
            f"a trial may train for {budget.amount} s, at {speed / 1e9:.3g} GFLOP/s as measured here at the beginning"
        )
        return replace(self, sweep=self.sweep.with_speed(speed))

    def _published_settings(self) -> dict[str, Any]:
        return published_settings(self.domains, type(self.sweep.configs()[0]))

    def _fit(self, inputs: TrialInputs, concurrency: int) -> None:
        searcher = StudySearcher(
            self.study,
            self.sweep,
            self.space,
            sweep_id=self.sweep_id,
            first=self._published_settings(),
            settled=self.settled,
            failed=self.failed,
            past=past_trials(self.study, self.store, self.sweep, self.domains, say=self.say),
            may_start=self.limit.allows_another,
        )
        progress = Progress(
            console=self.console,
            sweep=self.sweep,
            searched=["case", "seed"] if self.sweep.cases else list(self.domains),
            num_trials=self._total,
        )
        for trial in ended_trials(self.study):
            feasible = all(value <= 0 for value in trial.constraints.values())
            value = trial.values[0] if trial.values else None
            progress.recall(keys.trial_name(trial.number), trial.params, value, feasible=feasible)
        hung = HungWatch(self.sweep.hung)
        recorder = SweepRecorder(
            sweep=self.sweep,
            writer=self.writer,
            searcher=searcher,
            inputs=inputs,
            progress=progress,
            expenses=self.limit.expenses,
            explain=hung.explain,
        )
        with tempfile.TemporaryDirectory(prefix="zskt-", ignore_cleanup_errors=True) as scratch:
            tuner = tune.Tuner(
                self._trainable(inputs),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=self._scheduler(),
                    num_samples=-1,  # the searcher says when it is finished
                    max_concurrent_trials=concurrency,  # so many also wait for machines that an autoscaler starts
                    reuse_actors=True,
                    trial_name_creator=lambda trial: trial.config["trial_id"],
                    trial_dirname_creator=lambda trial: trial.config["trial_id"],
                ),
                run_config=tune.RunConfig(
                    name=self.sweep_id,
                    storage_path=scratch,
                    failure_config=tune.FailureConfig(max_failures=self.sweep.max_failures),
                    callbacks=[recorder, hung, *self._watchers()],  # hung forgets what the recorder asks it
                    stop=StorageStopper(searcher),
                    verbose=0,
                ),
            )
            with progress, terminate_like_interrupt():
                tuner.fit()
        if searcher.storage_error:
            raise searcher.storage_error

    def _watchers(self) -> list[tune.Callback]:
        """What else follows the trials, if it is asked for."""
        if not self.sweep.tensorboard:
            return []
        from orchestrator.tensorboard import TensorBoardWriter, tensorboard_folder  # slow to import

        folder = tensorboard_folder(self.store, self.sweep_id)
        self.say(f"TensorBoard files: {folder}")
        return [TensorBoardWriter(folder)]

    def _trainable(self, inputs: TrialInputs) -> type[TrialTrainable]:
        storage = TrialStorage(
            sweep_id=self.sweep_id,
            checkpoints=CheckpointStore(self.store.below(keys.checkpoint_folder(self.sweep_id))),
            students=StudentStore(self.store.below(keys.STUDENTS)),
            curves=self.store.below(keys.sweep_folder("transition_curves", self.sweep_id)),
            snapshots=self.store.below(keys.sweep_folder("snapshots", self.sweep_id)),
        )
        trainable = tune.with_parameters(
            TrialTrainable,
            inputs=inputs,
            storage=storage,
            checkpoint_seconds=self.sweep.checkpoint_seconds,
            leaving=leaving,
        )
        cpus, gpus = self.sweep.resources.cpu, self.sweep.gpus_per_trial

        def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": config.get(GPUS, gpus)}])

        with_resources: type[TrialTrainable] = tune.with_resources(trainable, resources)
        return with_resources

    def _scheduler(self) -> BudgetScheduler | None:
        if self.sweep.objective is None:
            return None
        return make_scheduler(
            self.sweep.scheduler,
            objective=self.sweep.objective,
            mode=self.sweep.mode,
            used=partial(_budget_used, self.sweep),  # Tune pickles schedulers, and the driver holds locks
            budget=self.sweep.trial_budget,
            past_reports=past_reports(self.study),
        )

    def _check_storage_is_shared(self, session: RaySession) -> None:
        """A plain path is a folder of one machine; with ``file://`` the user says that all machines share it."""
        if session.hosts > 1 and "://" not in self.sweep.storage.uri:
            raise ConfigError(
                f"storage={self.sweep.storage} is a folder of this machine, and the cluster may have {session.hosts}: use "
                "--storage s3://BUCKET/PREFIX or gs://..., or file:///FOLDER for one that all of them mount"
            )

    def _check_countable(self, session: RaySession) -> None:
        """Refuse a limit that could not be kept."""
        budget = self.sweep.budget
        if budget is None:
            return
        if budget.gpu_hours is not None and not self.sweep.gpus_per_trial:
            raise ConfigError("budget: {gpu_hours: ...}: these trials take no GPU; use usd, or --gpus")
        prices = self.limit.expenses.prices
        unknown = sorted({str(machine) for machine in session.machines() if prices.hour(machine) is None})
        if budget.usd is not None and unknown:
            raise ConfigError(
                f"budget: {{usd: ...}}: no price is known of {', '.join(unknown)}; write a file with machines: {{NAME: "
                "{on_demand: ...}} and name it as prices:, or limit gpu_hours"
            )

    def _concurrency(self, session: RaySession) -> int:
        try:
            return session.capacity.trials(cpus=self.sweep.resources.cpu, gpus=self.sweep.gpus_per_trial)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _write_session(self, number: int, event: str, session: RaySession) -> None:
        self.writer.write_session(
            session_row(
                self.sweep, list(self.domains), number=number, event=event, cpus=session.cpus, gpus=session.gpus
            )
        )


_SPEED = "flops_per_second"
"""Attribute of the study under which the first session keeps what a budget in seconds is counted by."""


def _budget_used(sweep: SweepConfig, settings: Mapping[str, Any], result: Mapping[str, Any]) -> int:
    return sweep.budget_used(parse_settings(settings), result)


def _surveyed_space(sweep: SweepConfig) -> tuple[SearchSpace, dict[str, BaseDistribution]]:
    if sweep.cases:
        return resolve_space({}), {}
    try:
        space = resolve_space(sweep.space)
        fixed = (*SHARED_FIELDS, *INHERITED_FIELDS) if sweep.scheduler.name == "pbt" else SHARED_FIELDS
        domains = survey_space(space, sweep, forbidden=fixed)
        check_sampler(sweep.sampler, domains)
        return space, domains
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_same_sweep(store: ObjectStore, sweep_id: str, sweep: SweepConfig) -> None:
    """Refuse to go on with other settings than the sweep began with, or with what another version began."""
    earlier = read_sweeps(store, sweep_id)["config_json"].to_pylist()
    if not earlier:
        return
    # Settings that were left open have the defaults of the version that ran them: rows from before a field have none.
    zero_shot = [row for row in read_trials(store, sweep_id).to_pylist() if row["config_method"] == "zero_shot"]
    if any(row["config_numerics"] is None for row in zero_shot):
        raise SweepMismatchError(
            f"sweep {sweep_id} was begun by an earlier version, whose trials computed otherwise (numerics=exact); give this "
            "one a name of its own with --sweep-id"
        )
    then, now = SweepConfig.model_validate_json(earlier[-1]).identity, sweep.identity
    different = [f"{key}: {then[key]!r} then, {now[key]!r} now" for key in now if then.get(key) != now[key]]
    if different:
        raise SweepMismatchError(
            f"sweep {sweep_id} began with other settings:\n  " + "\n  ".join(different) + "\n"
            "Give this one a name of its own with --sweep-id, or leave --sweep-id out."
        )
