"""Trials on Ray Tune: this project's search, stopping rules and callbacks as Tune wants them.

Tune tells a search algorithm of results before it tells callbacks, and pickles searchers, schedulers and callbacks into
files that nobody reads here. The study must learn of an end only once the trial's row is safe. So the recorder, a callback,
reports and tells; the adapters below hold no state of their own, and their pickles nothing.
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
from ray.tune.execution import class_cache  # no public way to what Tune hands on
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
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the result store takes their place
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner names a scratch folder; the live view shows what matters
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a trial as in the driver
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # each failure is a line of the live view and a row, without its stack trace
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # its own state of a sweep, which nobody reads, takes longer with each trial
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # checkpoints are on storage; a trial in mid-step need not be waited for
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
    """Run trials until none is left, the session has failed, or it is interrupted.

    Args:
        work: The trials.
        callbacks: What follows them, in place of the work's own.
        folder: Scratch space on this machine.
        concurrency: Trials at once at most; so many also wait for machines that are being started.
        explain: Says why a trial's process has died, if the session ended it; called before the callbacks.
        code: Files of the user's own that the trials run.
        borrow_credentials: See ``cluster.session.RaySession``.

    Returns:
        Whether it was interrupted.
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
    """Tune's settings for the length of a block; environment variables that the user has set stay.

    Keys to storage do not go to trials by Tune's way, as a runtime environment, which Ray writes in clear into its logs.
    """
    handed_on = class_cache.ENV_VARS_TO_PROPAGATE

    # Tune's notes are about its own files and analysis; how trials ended is said by the live view and the leaderboard.
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
    """A sweep's search as Tune asks for trials. What Tune tells of them goes to the recorder instead."""

    def __init__(self, search: SweepSearch) -> None:
        super().__init__()
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's hook: the next trial's config, or ``FINISHED``, or None while there may be another later."""
        trial = self._search.suggest()
        if trial is not None:
            return trial.flat
        return None if self._search.running or self._search.health.failure else str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: see the module."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: see the module."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on storage already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is continued by starting it again."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TuneScheduler(FIFOScheduler):
    """Ends trials of which no more is wanted, in Tune's words."""

    def __init__(self, work: TrialWork) -> None:
        super().__init__()
        self._work = work

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's hook: CONTINUE or STOP."""
        stops = self._work.stops(SweepTrial.from_flat(trial.config), result)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SessionStopper(Stopper):
    """Ends Tune's run where going on would cost compute and come to nothing."""

    def __init__(self, health: SessionHealth) -> None:
        self._health = health

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune's hook for one trial: see ``TuneScheduler``."""
        return False

    def stop_all(self) -> bool:
        """Tune's hook for the whole session."""
        return self._health.failure is not None


class TuneCallback(Callback):
    """Hands Tune's events on to the callbacks of a session."""

    def __init__(
        self, callbacks: Iterable[TrialCallback], *, explain: Callable[[str], str | None] = lambda key: None
    ) -> None:
        """Make the callback of one session.

        Args:
            callbacks: Whom to tell, in this order.
            explain: See ``run_trials``.
        """
        self._callbacks = list(callbacks)
        self._explain = explain
        self._own_failures: dict[str, int] = {}  # by Tune's id: a trial that is run again begins with none

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook."""
        started = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_start(started)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune's hook; the result includes Tune's own entries."""
        reporting = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_report(reporting, result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial ended by itself or was stopped early."""
        ended = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_end(ended)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial's process died and it will be continued.

        The loss of a machine says nothing of the trial and uses up none of its ``max_failures``.
        """
        failure = self._failure(trial)
        if failure.without_machine:
            # Not one less: Tune itself does not count a loss that was announced.
            trial.run_metadata.num_failures = self._own_failures.get(trial.trial_id, 0)
        else:
            self._own_failures[trial.trial_id] = trial.run_metadata.num_failures
        continued = SweepTrial.from_flat(trial.config)
        for callback in self._callbacks:
            callback.on_trial_recover(continued, failure)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune's hook: the trial failed for good."""
        failed, failure = SweepTrial.from_flat(trial.config), self._failure(trial)
        for callback in self._callbacks:
            callback.on_trial_error(failed, failure)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune's hook, several times a second."""
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
    """What a trial has raised, where Ray kept that; of an error while an actor is made, it keeps the text alone."""
    file = trial.pickled_error_file
    if file and Path(file).exists():
        kept = ray.cloudpickle.loads(Path(file).read_bytes())
        Path(file).unlink()  # a later failure need not leave one, and would be taken for this one
        if isinstance(kept, ray.exceptions.RayTaskError) and isinstance(kept.cause, Exception):
            return kept.cause
    for error in (StorageOutageError, StorageRefusedError):
        _, named, told = cause.partition(f"{error.__name__}: ")
        if named:
            return error(told)
    return None
