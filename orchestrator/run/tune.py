"""Runs trials on Ray Tune: adapters of this project's search, stopping rules and callbacks to Tune's interfaces.

Tune passes results to the search algorithm before it calls the callbacks, but the study may record the end of a trial only
once the trial's row is written. So the study is updated by the recorder, which is a callback. Tune also pickles searchers,
schedulers and callbacks into files that this project never reads, so the adapters below pickle as empty.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.execution import class_cache  # Tune has no public setting for the variables passed on
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from cluster.credentials import SECRET_VARIABLES
from cluster.preemption import draining, leaving
from cluster.process_failures import cause_of_failure, is_without_machine, last_failure
from orchestrator.run.backend import TrialWork
from orchestrator.run.callbacks.base import TrialCallback, TrialFailure
from orchestrator.search.sweep_search import SessionHealth, SweepSearch
from orchestrator.search.trial_queue import SweepTrial
from trainables.errors import StorageOutageError, StorageRefusedError
from trainables.ray_trainables import TrialTrainable
from trainables.system.own_files import OwnFile
from trainables.trial_result import GPUS

_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # replaced by the result store
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's banner names a scratch folder; the live view replaces it
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in trials as in the driver
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the live view and the row show each failure, without traceback
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # saving Tune's own state, never read here, slows with each trial
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # checkpoints are on storage, so no need to wait for a trial's step
}


def run_trials(
    work: TrialWork,
    callbacks: Sequence[TrialCallback],
    *,
    folder: Path,
    concurrency: int,
    explain: Callable[[str], str | None],
    code: Sequence[OwnFile],
    borrow_credentials: Callable[[], None],
) -> bool:
    """Run trials on Tune until none is left, the session has failed, or the session is interrupted.

    Args:
        work: The trials of the session.
        callbacks: Callbacks that follow the trials, instead of ``work.callbacks``.
        folder: Scratch folder on this machine.
        concurrency: Largest number of trials at once, including trials that wait for machines to start.
        explain: Function that returns why a trial's process died if the session killed it, else None; called before the
            callbacks.
        code: The user's own files that the trials run.
        borrow_credentials: See ``cluster.session.RaySession``.

    Returns:
        Whether the session was interrupted.
    """
    tuner = tune.Tuner(
        _trainable(work, code, borrow_credentials),
        tune_config=tune.TuneConfig(
            search_alg=TuneSearcher(work.search),
            scheduler=TuneScheduler(work),
            num_samples=-1,  # the search says when it is finished
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["trial_id"],
            trial_dirname_creator=lambda trial: trial.config["trial_id"],
        ),
        run_config=tune.RunConfig(
            name=work.sweep_id,
            storage_path=str(folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=work.sweep.max_failures),
            callbacks=[TuneCallback(callbacks, explain=explain)],
            stop=SessionStopper(work.search.health),
            verbose=0,
        ),
    )
    with work.signals.terminate_like_interrupt() as interrupted:
        tuner.fit()
    return interrupted()


@contextmanager
def tune_environment() -> Iterator[None]:
    """Apply this project's settings of Tune for the length of a block; environment variables set by the user stay.

    Also keeps Tune from passing credentials of storage to trials in a runtime environment, which Ray logs in plain text.
    """
    handed_on = class_cache.ENV_VARS_TO_PROPAGATE

    # Tune's log is about its own files and analysis; the live view and the leaderboard show how trials ended.
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    added = {key: value for key, value in _SETTINGS.items() if key not in os.environ}
    os.environ.update(added)
    withheld = SECRET_VARIABLES & handed_on
    handed_on -= withheld
    try:
        yield
    finally:
        handed_on |= withheld
        logger.setLevel(level)
        for key in added:
            del os.environ[key]


class TuneSearcher(Searcher):
    """Adapter from a sweep's search to Tune's search algorithms. Ignores results, which the recorder handles."""

    def __init__(self, search: SweepSearch) -> None:
        super().__init__()
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's config, ``FINISHED`` if there is none, or None if there may be one later."""
        trial = self._search.suggest()
        if trial is not None:
            return trial.flat
        return None if self._search.running or self._search.health.failure else str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: see the module's docstring."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: see the module's docstring."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on storage already."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep is resumed from its study."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneScheduler(FIFOScheduler):
    """Adapter from ``TrialWork.stops`` to Tune's schedulers."""

    def __init__(self, work: TrialWork) -> None:
        super().__init__()
        self._work = work

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether Tune should CONTINUE or STOP the trial."""
        stops = self._work.stops(SweepTrial.from_flat(trial.config), result)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SessionStopper(Stopper):
    """Ends Tune's run once the session has failed, since further computation would be lost."""

    def __init__(self, health: SessionHealth) -> None:
        self._health = health

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are stopped by ``TuneScheduler``."""
        return False

    def stop_all(self) -> bool:
        """Return whether Tune should end the whole run."""
        return self._health.failure is not None


class TuneCallback(Callback):
    """Passes Tune's events on to the callbacks of a session."""

    def __init__(
        self, callbacks: Iterable[TrialCallback], *, explain: Callable[[str], str | None] = lambda key: None
    ) -> None:
        """Make the callback of one session.

        Args:
            callbacks: Callbacks to call, in this order.
            explain: See ``run_trials``.
        """
        self._callbacks = list(callbacks)
        self._explain = explain
        self._own_failures: dict[str, int] = {}  # by Tune's id: a trial suggested again starts at 0

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Pass on the start of a trial."""
        started = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_start(started)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass on a report; the result includes Tune's own entries."""
        reporting = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_report(reporting, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Pass on the end of a trial that ended by itself or was stopped early."""
        ended = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_end(ended)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Pass on the failure of a trial that will be resumed.

        The loss of a machine is not the trial's fault, and uses up none of its ``max_failures``.
        """
        failure = self._failure(trial)
        if failure.without_machine:
            # Set, not decremented: Tune itself does not count a loss that was announced.
            trial.run_metadata.num_failures = self._own_failures.get(trial.trial_id, 0)
        else:
            self._own_failures[trial.trial_id] = trial.run_metadata.num_failures
        continued = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_recover(continued, failure)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Pass on the failure of a trial that is not retried."""
        failed, failure = SweepTrial.from_flat(trial.config), self._failure(trial)
        for callback in self._callbacks:
            callback.on_trial_error(failed, failure)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Pass on a step of Tune's loop, which happens several times a second."""
        states = [trial.status for trial in trials]
        for callback in self._callbacks:
            callback.on_step(running=states.count(Trial.RUNNING), waiting=states.count(Trial.PENDING))

    def _failure(self, trial: Trial) -> TrialFailure:
        told = last_failure(trial.error_file)
        cause = self._explain(trial.config["trial_id"]) or cause_of_failure(told)
        return TrialFailure(cause=cause, without_machine=is_without_machine(told), error=_own_error(trial, cause))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _trainable(
    work: TrialWork, code: Sequence[OwnFile], borrow_credentials: Callable[[], None]
) -> type[TrialTrainable]:
    trainable = tune.with_parameters(
        TrialTrainable,
        inputs=work.inputs,
        storage=work.storage,
        checkpoint_seconds=work.sweep.checkpoint_seconds,
        leaving=leaving,
        draining=draining,
        code=code,
        borrow_credentials=borrow_credentials,
    )
    cpus, gpus = work.sweep.resources.cpu, work.sweep.gpus_per_trial

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": config.get(GPUS, gpus)}])

    with_resources: type[TrialTrainable] = tune.with_resources(trainable, resources)
    return with_resources


def _own_error(trial: Trial, cause: str) -> Exception | None:
    """Return the exception that a trial raised; None if it is not known.

    Of an exception during the creation of an actor Ray keeps only the text, from which storage errors are restored.
    """
    file = trial.pickled_error_file
    if file and Path(file).exists():
        kept = ray.cloudpickle.loads(Path(file).read_bytes())
        Path(file).unlink()  # a later failure may leave no file, and must not find this one
        if isinstance(kept, ray.exceptions.RayTaskError) and isinstance(kept.cause, Exception):
            return kept.cause
    for error in (StorageOutageError, StorageRefusedError):
        _, named, told = cause.partition(f"{error.__name__}: ")
        if named:
            return error(told)
    return None
