"""Values that a sweep's first session measures or chooses, and later sessions reuse.

These are the number of trials per GPU, the speed of the machines (which converts a budget in seconds into FLOPs), and the
warm-start trials.

The number of trials per GPU is measured: growing numbers of processes train the same trial on one GPU for a few seconds, and
their combined throughput is compared. Later sessions take the measurement from the rows of earlier sessions, as long as
trials have the same number of CPU cores and the GPU is of the same type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from orchestrator.config import SweepConfig
from orchestrator.inputs.tasks import TaskRunner
from orchestrator.results import SweepResults
from orchestrator.run.backend import Backend
from orchestrator.run.gpu_sharing import PROCESSES, Gpu, Sharing, SharingError, measure_sharing
from orchestrator.search.warm_start import past_trials
from orchestrator.storage import SweepStore
from trainables.compute.flops import look_flops, training_steps
from trainables.profiling.timing import flops_per_second

MEASURED_SECONDS = 5.0
"""Seconds for which the processes train during each measurement of their throughput."""

LONGEST_SECONDS = 120.0
"""Longest time for the whole measurement, in seconds, including the start of the processes. After that, the throughputs
measured so far are used."""

LEAST_WORK_SECONDS = 120.0
"""Shortest work per GPU, in seconds with one trial at a time, for which sharing is measured."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured or chosen values on which trials depend, besides the config that the user gave."""

    sweep: SweepConfig
    """Config of the sweep with the resources of a trial, and with a budget in seconds converted into FLOPs."""

    sharing: Sharing | None = None
    """Measurement of trials that share a GPU; None if there is none."""

    past: Mapping[str, FrozenTrial] | None = None
    """Trials of other sweeps that inform the sampler, by ``SWEEP/TRIAL``; None if they have not been chosen yet."""


def calibrate(
    sweep: SweepConfig,
    backend: Backend,
    *,
    sweep_store: SweepStore,
    study: optuna.Study,
    domains: Mapping[str, BaseDistribution],
    trials: int,
    may_share: bool,
    say: Callable[[str], None],
) -> Calibration:
    """Measure or choose the values that are open, or take them over from an earlier session.

    Args:
        sweep: Config of the sweep.
        backend: Backend that runs the measurements.
        sweep_store: The sweep on its storage.
        study: Study of the sweep.
        domains: Domains of the fields that a search varies.
        trials: Number of trials that are still to be run.
        may_share: Whether the number of trials per GPU is to be measured.
        say: Function called with messages about the results.
    """
    sharing = None
    if may_share:
        sharing, each = settle_sharing(sweep, backend, sweep_store=sweep_store, trials=trials, say=say)
        sweep = sweep.with_resources(gpu=1 / each)
    speed = study.user_attrs.get("flops_per_second")  # stored there by earlier versions
    sweep = with_known_budget(sweep, backend, speed=speed, sharing=sharing, say=say)
    past = past_trials(sweep_store, sweep, domains, say=say)
    return Calibration(sweep=sweep, sharing=sharing, past=past)


def with_known_budget(
    sweep: SweepConfig,
    tasks: TaskRunner,
    *,
    speed: float | None,
    sharing: Sharing | None,
    say: Callable[[str], None],
) -> SweepConfig:
    """Return a sweep whose budget in seconds, if it has one, is converted into FLOPs.

    Args:
        sweep: Config of the sweep.
        tasks: Task runner that measures the speed where trials will run.
        speed: Speed of a trial in FLOPs per second. None means that the speed is measured.
        sharing: Measurement of trials that share a GPU. None if they do not.
        say: Function called with a message about the speed.
    """
    budget = sweep.equal_budget
    if budget is None or budget.is_known:
        return sweep
    if speed is None:
        published = sweep.configs()[0]
        speed = tasks.run_task(flops_per_second, published, cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
        if sharing is not None:  # the speed was measured with no other trial on the GPU
            together = round(1 / sweep.gpus_per_trial)
            speed *= sharing.ratio(together) / together
    say(f"a trial may train for {budget.amount} s, at {speed / 1e9:.3g} GFLOP/s as measured here at the beginning")
    return sweep.with_speed(speed)


def settle_sharing(
    sweep: SweepConfig,
    backend: Backend,
    *,
    sweep_store: SweepStore,
    trials: int,
    say: Callable[[str], None],
) -> tuple[Sharing | None, int]:
    """Return the number of trials per GPU for a session with ``gpu: auto``, and the measurement behind it.

    The number is 1, without a measurement, if a GPU has no second trial to run or too few CPU cores for it, if all trials
    take less time than measuring, if measuring fails, or if the backend does not let trials share GPUs.

    Args:
        sweep: Config of the sweep, with one GPU for each trial.
        backend: Backend that runs the trials and the measurement.
        sweep_store: The sweep on its storage.
        trials: Number of trials that are still to be run.
        say: Function called with messages about the result.
    """
    if backend.gpu_pool is None:
        return None, 1
    cpus = sweep.resources.cpu
    gpus = backend.capacity.trials(cpus=cpus, gpus=1)
    most = max((number for number in PROCESSES if number <= backend.capacity.trials_on_a_gpu(cpus=cpus)), default=1)
    wanted = math.ceil(trials / gpus)
    if min(most, wanted) < 2:
        return None, 1
    smallest = backend.gpu_pool.smallest()
    found = _measured_before(sweep_store, smallest, cpus=cpus)
    if found is None:
        config = max(sweep.configs(), key=look_flops)
        work = training_steps(config) * trials / gpus
        say("measuring how many trials should share a GPU ...")
        try:
            with backend.gpu_pool.colocated(
                config,
                cpus=cpus,
                most=most,
                seconds=MEASURED_SECONDS,
                patience=LONGEST_SECONDS,
                on=smallest.address if smallest else None,
            ) as colocated:
                found = measure_sharing(
                    colocated, cpus=cpus, most=most, worth_it=lambda seconds: work * seconds >= LEAST_WORK_SECONDS
                )
        except SharingError as error:
            say(f"warning: each trial has a GPU to itself, since GPU sharing could not be measured: {error}")
            return None, 1
        if found is None:
            say("each trial has a GPU to itself: all trials take no longer than measuring GPU sharing")
            return None, 1
    each = found.trials_per_gpu(wanted)
    say(found.sentence(each))
    return found, each


def _measured_before(sweep_store: SweepStore, gpu: Gpu | None, *, cpus: float) -> Sharing | None:
    """Return the last stored measurement for trials with as many CPU cores and the same type of GPU.

    If no GPU is known (``gpu`` is None), the type of GPU is not compared. Returns None if there is no such measurement.
    """
    kept = [
        Sharing.model_validate_json(past.sharing_json)
        for past in SweepResults(sweep_store).sessions()
        if past.sharing_json
    ]
    fitting = [one for one in kept if one.cpus == cpus and (gpu is None or one.device_name == gpu.device_name)]
    return fitting[-1] if fitting else None
