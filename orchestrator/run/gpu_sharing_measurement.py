"""Measures how many trials should share a GPU: more and more processes train the same trial on one GPU of the cluster.

All of them train at once for a few seconds, and what counts is what they come to together. That is done once for a sweep:
later sessions find it in the rows of earlier ones, as long as trials have the same cores and the GPU is of the same type.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.nodes import run_on_node
from cluster.session import RaySession
from orchestrator.config import SweepConfig
from orchestrator.results import SweepResults
from orchestrator.run.gpu_sharing import PROCESSES, Sharing, SharingError, measure_sharing
from orchestrator.storage import SweepStore
from trainables.compute.flops import look_flops, training_steps
from trainables.config import AnyTrialConfig
from trainables.profiling.gpu_process import Beginning, ColocatedTrial

MEASURED_SECONDS = 5.0
"""For which processes train while they are counted."""

LONGEST_SECONDS = 120.0
"""All of that takes no longer, the starts of the processes included; what is known by then counts."""

LEAST_WORK_SECONDS = 120.0
"""A sweep that would keep each GPU busy for less, with one trial at a time, is not worth measuring for."""

START_SECONDS = 900.0
"""How long a GPU may take to come free, or its machine to start."""

ANSWER_SECONDS = 120.0
"""How long machines may take to say what GPUs they have."""


@dataclass(kw_only=True)
class RayNeighbours:
    """Processes of Ray on one GPU, in a bundle that holds it whole. See ``Neighbours``."""

    config: AnyTrialConfig
    cpus: float
    most: int
    group: PlacementGroup
    seconds: float
    """For which they train while they are counted."""

    deadline: float
    """By ``time.monotonic``, for all that is asked."""

    _processes: list[Any] = field(default_factory=list)

    def grow(self, processes: int) -> Beginning:
        there = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)
        start = ray.remote(num_cpus=self.cpus, num_gpus=1 / self.most, scheduling_strategy=there)(ColocatedTrial).remote
        new = [start(self.config, cpus=self.cpus) for _ in range(processes - len(self._processes))]
        self._processes += new
        beginnings: list[Beginning] = self._ask([process.begin.remote() for process in new])
        return beginnings[0]

    def needs(self) -> int:
        needs: list[int] = self._ask([self._processes[0].peak_memory.remote()])
        return needs[0]

    def rate(self) -> float:
        # All of them wait by now, so they begin within milliseconds of each other, and end so.
        return math.fsum(self._ask([process.throughput.remote(self.seconds) for process in self._processes]))

    def _ask(self, answers: list[Any]) -> Any:
        """Raises: SharingError: there is no answer."""
        try:
            return ray.get(answers, timeout=max(0.0, self.deadline - time.monotonic()))
        except ray.exceptions.GetTimeoutError as error:
            raise SharingError("it took too long") from error
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise SharingError(f"{type(cause).__name__}: {str(cause).partition('. ')[0]}") from error
        except ray.exceptions.RayError as error:
            raise SharingError("a process died") from error


@contextmanager
def ray_neighbours(
    config: AnyTrialConfig, *, cpus: float, most: int, seconds: float, patience: float, on: str | None = None
) -> Iterator[RayNeighbours]:
    """A GPU for the length of a block, with nobody on it yet.

    Args:
        config: What is trained.
        cpus: CPU cores of each process.
        most: How many there will be.
        seconds: For which they train while they are counted.
        patience: Seconds in which everything must be over, from the moment at which there is a GPU.
        on: Address of a machine whose GPU it is; none: of any.

    Raises:
        SharingError: no GPU came free.
    """
    place = {} if on is None else {f"node:{on}": 0.001}
    group = placement_group([{"CPU": cpus * most, "GPU": 1, **place}])
    try:
        if not group.wait(START_SECONDS):
            raise SharingError(f"no GPU with {cpus * most:g} CPU cores beside it came free in {START_SECONDS:g} s")
        deadline = time.monotonic() + patience
        yield RayNeighbours(config=config, cpus=cpus, most=most, group=group, seconds=seconds, deadline=deadline)
    finally:
        remove_placement_group(group)  # ends the processes too


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU of a machine that is there."""

    device_name: str
    gpu_bytes: int
    address: str


def smallest_gpu() -> Gpu | None:
    """The GPU with the least memory of those that are there; none where torch finds none, or no machine is up yet."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    asked = []
    for node in nodes:
        # A process that has looked at a GPU holds memory of it until it ends: it ends with the call.
        asked.append(run_on_node(node["NodeID"], gpus_here, node["NodeManagerAddress"], alone=True))
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    try:
        found = [gpu for gpus in ray.get(answered) for gpu in gpus]
    except ray.exceptions.RayError:
        return None  # then the GPU is any; what is wrong will show there
    return min(found, key=lambda gpu: gpu.gpu_bytes, default=None)


def gpus_here(address: str) -> list[Gpu]:
    """GPUs that torch finds on this machine, whose address that is; for a process that does nothing else."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the GPUs from a task that takes none
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(device_name=one.name, gpu_bytes=one.total_memory, address=address) for one in found]


def settle_sharing(
    sweep: SweepConfig,
    session: RaySession,
    *,
    sweep_store: SweepStore,
    trials: int,
    say: Callable[[str], None],
) -> tuple[Sharing | None, int]:
    """How many trials share a GPU in a session of a sweep that left it open, and what that rests on.

    One has a GPU to itself where there are no more trials than GPUs, where all of them take less time than measuring, and
    where that fails.

    Args:
        sweep: What is run, each trial on one GPU so far.
        session: The cluster.
        sweep_store: Where the sweep is.
        trials: How many it still has to run.
        say: Is told what was found.
    """
    cpus = sweep.resources.cpu
    gpus = session.capacity.trials(cpus=cpus, gpus=1)
    most = max((number for number in PROCESSES if number <= session.capacity.trials_on_a_gpu(cpus=cpus)), default=1)
    wanted = math.ceil(trials / gpus)
    if min(most, wanted) < 2:
        return None, 1
    smallest = smallest_gpu()
    found = _measured_before(sweep_store, smallest, cpus=cpus)
    if found is None:
        config = max(sweep.configs(), key=look_flops)
        work = training_steps(config) * trials / gpus
        say("measuring how many trials should share a GPU ...")
        try:
            with ray_neighbours(
                config,
                cpus=cpus,
                most=most,
                seconds=MEASURED_SECONDS,
                patience=LONGEST_SECONDS,
                on=smallest.address if smallest else None,
            ) as neighbours:
                found = measure_sharing(
                    neighbours, cpus=cpus, most=most, worth_it=lambda seconds: work * seconds >= LEAST_WORK_SECONDS
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
    sessions = SweepResults(sweep_store).sessions()
    kept = [Sharing.model_validate_json(session.sharing_json) for session in sessions if session.sharing_json]
    fitting = [one for one in kept if one.cpus == cpus and (gpu is None or one.device_name == gpu.device_name)]
    return fitting[-1] if fitting else None
