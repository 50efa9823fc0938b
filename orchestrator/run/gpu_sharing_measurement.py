"""Ray processes that train the same trial on one GPU of a cluster, to measure how many trials should share a GPU."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.nodes import run_on_node
from orchestrator.run.gpu_sharing import Gpu, SharingError
from trainables.config import AnyTrialConfig
from trainables.profiling.gpu_process import Beginning, ColocatedTrial
from trainables.system.own_files import OwnFile

START_SECONDS = 900.0
"""Longest wait in seconds for a GPU to become free, or for its machine to start."""

ANSWER_SECONDS = 120.0
"""Longest wait in seconds for the machines' answers about their GPUs."""


@dataclass(kw_only=True)
class RayColocatedTrials:
    """Ray processes on one GPU, in a placement group that reserves the whole GPU. See ``ColocatedTrials``."""

    config: AnyTrialConfig
    cpus: float
    most: int
    group: PlacementGroup
    seconds: float
    """Seconds for which the processes train during a measurement of their throughput."""

    deadline: float
    """Time by which all measurements must have ended, by ``time.monotonic``."""

    code: Sequence[OwnFile] = ()
    """The user's own files that the trial's config may name."""

    _processes: list[Any] = field(default_factory=list)

    def scale_to(self, processes: int) -> Beginning:
        there = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)
        start = ray.remote(num_cpus=self.cpus, num_gpus=1 / self.most, scheduling_strategy=there)(ColocatedTrial).remote
        new = [start(self.config, cpus=self.cpus, code=self.code) for _ in range(processes - len(self._processes))]
        self._processes += new
        beginnings: list[Beginning] = self._ask([process.begin.remote() for process in new])
        return beginnings[0]

    def peak_memory(self) -> int:
        needs: list[int] = self._ask([self._processes[0].peak_memory.remote()])
        return needs[0]

    def throughput(self) -> float:
        # All processes are waiting by now, so they start, and stop, within milliseconds of each other.
        return math.fsum(self._ask([process.throughput.remote(self.seconds) for process in self._processes]))

    def _ask(self, answers: list[Any]) -> Any:
        """Return the results of Ray calls.

        Raises:
            SharingError: a call failed, a process died, or the deadline has passed.
        """
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
def ray_colocated(
    config: AnyTrialConfig,
    *,
    cpus: float,
    most: int,
    seconds: float,
    patience: float,
    on: str | None = None,
    code: Sequence[OwnFile] = (),
) -> Iterator[RayColocatedTrials]:
    """Reserve a GPU of the cluster for the length of a block, with no process on it at first.

    Args:
        config: Config of the trial that all processes train.
        cpus: CPU cores of each process.
        most: Largest number of processes.
        seconds: Seconds for which the processes train during a measurement of their throughput.
        patience: Time limit for all measurements together, in seconds from the moment at which the GPU is reserved.
        on: Address of the machine whose GPU is used. None means any machine.
        code: The user's own files that the trial's config may name.

    Raises:
        SharingError: no GPU became available within ``START_SECONDS``.
    """
    place = {} if on is None else {f"node:{on}": 0.001}
    group = placement_group([{"CPU": cpus * most, "GPU": 1, **place}])
    try:
        if not group.wait(START_SECONDS):
            raise SharingError(f"no GPU with {cpus * most:g} CPU cores became available within {START_SECONDS:g} s")
        deadline = time.monotonic() + patience
        yield RayColocatedTrials(
            config=config, cpus=cpus, most=most, group=group, seconds=seconds, deadline=deadline, code=code
        )
    finally:
        remove_placement_group(group)  # ends the processes too


def smallest_gpu() -> Gpu | None:
    """Return the GPU of the cluster with the least memory.

    Returns None if torch finds no GPU, if no machine with a GPU is running yet, or if a machine fails to answer.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    asked = []
    for node in nodes:
        # A process that has queried a GPU holds GPU memory until it ends, so each query gets a process of its own.
        asked.append(run_on_node(node["NodeID"], gpus_here, node["NodeManagerAddress"], alone=True))
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    try:
        found = [gpu for gpus in ray.get(answered) for gpu in gpus]
    except ray.exceptions.RayError:
        return None  # any GPU may be used then; a lasting error appears when it is
    return min(found, key=lambda gpu: gpu.gpu_bytes, default=None)


def gpus_here(address: str) -> list[Gpu]:
    """Return the GPUs that torch finds on this machine, for a process that does nothing else.

    Args:
        address: This machine's address in the cluster.
    """
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the GPUs from a task that reserves none
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(device_name=one.name, gpu_bytes=one.total_memory, address=address) for one in found]


class RayGpus:
    """The GPUs of a Ray cluster: see ``gpu_sharing.Gpus``."""

    def __init__(self, code: Sequence[OwnFile] = ()) -> None:
        """Take the user's own files (``code``) that the configs of trials on these GPUs may name."""
        self._code = code

    def smallest(self) -> Gpu | None:
        """See ``Gpus``."""
        return smallest_gpu()

    def colocated(
        self, config: AnyTrialConfig, *, cpus: float, most: int, seconds: float, patience: float, on: str | None = None
    ) -> AbstractContextManager[RayColocatedTrials]:
        """See ``Gpus``."""
        return ray_colocated(config, cpus=cpus, most=most, seconds=seconds, patience=patience, on=on, code=self._code)
