"""What the first session of a sweep settles and later ones keep: how many trials share a GPU, how fast its machines are, and
what the sampler learns from beside the sweep's own trials.

How many trials share a GPU is measured: more and more processes train the same trial on one GPU for a few seconds, and what
counts is what they come to together. Later sessions find it in the rows of earlier ones, as long as trials have the same
cores and the GPU is of the same type.
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
"""For which processes train while they are counted."""

LONGEST_SECONDS = 120.0
"""All of that takes no longer, the starts of the processes included; what is known by then counts."""

LEAST_WORK_SECONDS = 120.0
"""A sweep that would keep each GPU busy for less, with one trial at a time, is not worth measuring for."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What trials depend on beside the sweep that was asked for."""

    sweep: SweepConfig
    """With the resources of a trial, and with a budget in seconds told in operations."""

    sharing: Sharing | None = None
    """What was measured of trials that share a GPU; None: nothing."""

    past: Mapping[str, FrozenTrial] | None = None
    """Trials of other sweeps that inform the sampler, by ``SWEEP/TRIAL``; None: not settled yet."""


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
    """Settle what is open, or find what an earlier session has settled.

    Args:
        sweep: What is run.
        backend: Where; it measures.
        sweep_store: The sweep on its storage.
        study: The sweep's.
        domains: What a search varies.
        trials: How many are still to be run.
        may_share: Whether it is left open how many trials share a GPU.
        say: Is told what was found.
    """
    sharing = None
    if may_share:
        sharing, each = settle_sharing(sweep, backend, sweep_store=sweep_store, trials=trials, say=say)
        sweep = sweep.with_resources(gpu=1 / each)
    speed = study.user_attrs.get("flops_per_second")  # where the first sessions of earlier versions kept it
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
    """Return a sweep whose budget in seconds, if it has one, is told in operations.

    Args:
        sweep: The sweep.
        tasks: Measures the speed, where trials will run.
        speed: Operations a second of a trial. Defaults to a measurement.
        sharing: What was measured of trials that share a GPU, if they do.
        say: Is told the speed.
    """
    budget = sweep.equal_budget
    if budget is None or budget.is_known:
        return sweep
    if speed is None:
        published = sweep.configs()[0]
        speed = tasks.run_task(flops_per_second, published, cpus=sweep.resources.cpu, gpus=sweep.gpus_per_trial)
        if sharing is not None:  # the probe had nobody beside it
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
    """How many trials share a GPU in a session of a sweep that left it open, and what that rests on.

    One has a GPU to itself where there are no more trials than GPUs, where all of them take less time than measuring, where
    that fails, and where a backend runs one process alone.

    Args:
        sweep: What is run, each trial on one GPU so far.
        backend: What runs it.
        sweep_store: The sweep on its storage.
        trials: How many it still has to run.
        say: Is told what was found.
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
            say(f"warning: each trial has a GPU to itself, as it could not be measured what sharing brings: {error}")
            return None, 1
        if found is None:
            say("each trial has a GPU to itself: all of them take no longer than measuring what sharing brings")
            return None, 1
    each = found.trials_per_gpu(wanted)
    say(found.sentence(each))
    return found, each


def _measured_before(sweep_store: SweepStore, gpu: Gpu | None, *, cpus: float) -> Sharing | None:
    """What the last session measured and kept, of trials with as many cores on such a GPU; on any where none is there."""
    kept = [
        Sharing.model_validate_json(past.sharing_json)
        for past in SweepResults(sweep_store).sessions()
        if past.sharing_json
    ]
    fitting = [one for one in kept if one.cpus == cpus and (gpu is None or one.device_name == gpu.device_name)]
    return fitting[-1] if fitting else None
