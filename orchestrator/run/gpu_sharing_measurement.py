"""Processes of Ray that train the same trial on one GPU of a cluster, to measure how many trials should share one."""

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
"""How long a GPU may take to come free, or its machine to start."""

ANSWER_SECONDS = 120.0
"""How long machines may take to say what GPUs they have."""


@dataclass(kw_only=True)
class RayColocatedTrials:
    """Processes of Ray on one GPU, in a bundle that holds it whole. See ``ColocatedTrials``."""

    config: AnyTrialConfig
    cpus: float
    most: int
    group: PlacementGroup
    seconds: float
    """For which they train while they are counted."""

    deadline: float
    """By ``time.monotonic``, for all that is asked."""

    code: Sequence[OwnFile] = ()
    """Files of the user's own that the trial may name."""

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
    """A GPU for the length of a block, with nobody on it yet.

    Args:
        config: What is trained.
        cpus: CPU cores of each process.
        most: How many there will be.
        seconds: For which they train while they are counted.
        patience: Seconds in which everything must be over, from the moment at which there is a GPU.
        on: Address of a machine whose GPU it is; none: of any.
        code: Files of the user's own that the trial may name.

    Raises:
        SharingError: no GPU came free.
    """
    place = {} if on is None else {f"node:{on}": 0.001}
    group = placement_group([{"CPU": cpus * most, "GPU": 1, **place}])
    try:
        if not group.wait(START_SECONDS):
            raise SharingError(f"no GPU with {cpus * most:g} CPU cores beside it came free in {START_SECONDS:g} s")
        deadline = time.monotonic() + patience
        yield RayColocatedTrials(
            config=config, cpus=cpus, most=most, group=group, seconds=seconds, deadline=deadline, code=code
        )
    finally:
        remove_placement_group(group)  # ends the processes too


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


class RayGpus:
    """The GPUs of a cluster: see ``gpu_sharing.Gpus``."""

    def __init__(self, code: Sequence[OwnFile] = ()) -> None:
        """Args: code: Files of the user's own that the trials on them may name."""
        self._code = code

    def smallest(self) -> Gpu | None:
        """See ``Gpus``."""
        return smallest_gpu()

    def colocated(
        self, config: AnyTrialConfig, *, cpus: float, most: int, seconds: float, patience: float, on: str | None = None
    ) -> AbstractContextManager[RayColocatedTrials]:
        """See ``Gpus``."""
        return ray_colocated(config, cpus=cpus, most=most, seconds=seconds, patience=patience, on=on, code=self._code)
