"""Backend that runs a session in the program's own process, without Ray: trials take turns, report by report.

This backend serves to debug a space or a training, with a breakpoint in the loop, and to run where Ray cannot start. Nothing
runs in parallel, hanging trials are not detected, and the session ends with the process.
"""

from __future__ import annotations

import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from cluster.capacity import Capacity, NodeType
from cluster.cpus import available_cpus
from cluster.preemption import leaving
from cluster.prices import Machine
from orchestrator.inputs.tasks import LongTask
from orchestrator.run.backend import Backend, TrialWork
from orchestrator.run.callbacks.base import TrialFailure
from orchestrator.search.trial_queue import SweepTrial
from trainables.trial import TrialInputs, TrialStorage
from trainables.trial_result import DONE, Place
from trainables.trial_run import MAY_PASS, TrialRun

Result = TypeVar("Result")


class SteppedTrial(Protocol):
    """The part of ``TrialRun`` that this backend uses."""

    def step(self) -> dict[str, Any]:
        """Train up to the next report, and return the report."""

    def close(self) -> list[str]:
        """Release the trial's resources, and return the notes that no report has included."""


class StartTrial(Protocol):
    """Function that starts or resumes a trial: see ``TrialRun.start``."""

    def __call__(
        self,
        config: Mapping[str, Any],
        *,
        inputs: TrialInputs,
        storage: TrialStorage | None,
        checkpoint_seconds: float,
        place: Place,
    ) -> SteppedTrial: ...


@dataclass(kw_only=True)
class _Turn:
    """A trial that takes turns with others."""

    trial: SweepTrial
    run: SteppedTrial | None = None
    """The trial's run; None before its start, and between a failure that may pass and the next attempt."""

    failures: int = 0


@dataclass(frozen=True, kw_only=True)
class InlineBackend:
    """This process, with its available CPU cores and one GPU if torch finds any: see ``Backend``."""

    concurrency: int = 1
    """Number of trials that take turns."""

    cpus: float = field(default_factory=available_cpus)
    gpus: float = field(default_factory=lambda: float(torch.cuda.is_available()))
    hosts: int = 1
    gpu_pool: None = None
    keeps_terminal: bool = False
    start_trial: StartTrial = TrialRun.start
    """Function that starts trials; tests replace it, to simulate the duration of trials or to replay them."""

    @property
    def capacity(self) -> Capacity:
        """See ``Backend``. The capacity does not depend on ``concurrency``, since only one trial computes at a time."""
        return Capacity(fixed=[NodeType(count=1, cpus=self.cpus, gpus=self.gpus)])

    def machine(self, node_id: str) -> Machine | None:
        """See ``Backend``. Every trial runs on this machine."""
        return Machine(name=platform.node(), spot=False, cpus=self.cpus, gpus=self.gpus)

    def machines(self) -> set[Machine]:
        """See ``Backend``."""
        return {Machine(name=platform.node(), spot=False, cpus=self.cpus, gpus=self.gpus)}

    def run_task(self, task: Callable[..., Result], *arguments: Any, cpus: float, gpus: float) -> Result:
        """See ``TaskRunner``."""
        return task(*arguments, cpus=cpus, gpus=gpus)

    def follow(
        self,
        start: Callable[[], LongTask[Result]],
        *,
        on_report: Callable[[Mapping[str, Any]], bool],
        on_loss: Callable[[bool], None],
        cpus: float,
        gpus: float,
        max_failures: int,
    ) -> Result:
        """See ``TaskRunner``. Losses are not handled, since the only process that can be lost is this one."""
        task = start()
        while not on_report(task.advance()):
            pass
        return task.describe()

    def run_trials(self, work: TrialWork) -> bool:
        """See ``Backend``."""
        turns: list[_Turn | None] = []
        with work.signals.terminate_like_interrupt():
            try:
                while self._round(work, turns):
                    pass
            except KeyboardInterrupt:
                return True
            finally:
                for turn in turns:
                    if turn is not None:
                        _close(turn, work)
        return False

    def _round(self, work: TrialWork, turns: list[_Turn | None]) -> bool:
        """Let each trial make its next report, after filling free places with new trials.

        Returns:
            Whether there was anything to do.
        """
        busy = False
        for place in range(self.concurrency):
            if work.search.health.failure:
                return False
            if place == len(turns):  # places are created on demand: ``concurrency`` may exceed the trials
                turns.append(None)
            turn = turns[place]
            if turn is None:
                trial = work.search.suggest()
                if trial is None and place == len(turns) - 1:
                    break
                if trial is None:
                    continue
                turn = turns[place] = _Turn(trial=trial)
            busy = True
            if self._advance(turn, work):
                turns[place] = None
            for callback in work.callbacks:
                callback.on_step(running=sum(other is not None for other in turns), waiting=0)
        return busy

    def _advance(self, turn: _Turn, work: TrialWork) -> bool:
        """Let a trial make its next report.

        Returns:
            Whether the trial has ended.
        """
        trial = turn.trial
        try:
            run = turn.run or self._start(turn, work)
            result = run.step()
        except MAY_PASS as error:
            return _failed(turn, work, error)
        over = bool(result[DONE]) or work.stops(trial, result)
        for callback in work.callbacks:
            callback.on_trial_report(trial, result)
        if over:
            _close(turn, work)
            for callback in work.callbacks:
                callback.on_trial_end(trial)
        return over

    def _start(self, turn: _Turn, work: TrialWork) -> SteppedTrial:
        trial, sweep = turn.trial, work.sweep
        place = Place(
            cpus=sweep.resources.cpu,
            gpus=sweep.gpus_per_trial if trial.gpus is None else trial.gpus,
            leaving=leaving,
            clock=work.clock,
        )
        turn.run = self.start_trial(
            trial.flat,
            inputs=work.inputs,
            storage=work.storage,
            checkpoint_seconds=sweep.checkpoint_seconds,
            place=place,
        )
        for callback in work.callbacks:
            callback.on_trial_start(trial)
        return turn.run


def _failed(turn: _Turn, work: TrialWork, error: Exception) -> bool:
    """Have a failed trial resumed from its last checkpoint, as often as the sweep allows.

    Returns:
        Whether the trial has ended, since it is not resumed any more.
    """
    _close(turn, work)
    turn.failures += 1
    over = turn.failures > work.sweep.max_failures
    failure = TrialFailure(cause=traceback.format_exception_only(error)[-1].strip(), error=error)
    for callback in work.callbacks:
        if over:
            callback.on_trial_error(turn.trial, failure)
        else:
            callback.on_trial_recover(turn.trial, failure)
    return over


def _close(turn: _Turn, work: TrialWork) -> None:
    """Release a trial's networks once its last checkpoint is written, and print the notes that no report has included."""
    run, turn.run = turn.run, None
    if run is not None:
        for note in run.close():
            work.warn(f"{turn.trial.key}: {note}")


@contextmanager
def inline_backend(*, concurrency: int = 1) -> Iterator[Backend]:
    """Use this process as the backend for the length of a block: see ``BackendChoice``."""
    yield InlineBackend(concurrency=concurrency)
