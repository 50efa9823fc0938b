"""Chooses how many trials share a GPU, by measuring the throughput of one, two, four and eight processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from orchestrator.formatting import readable
from trainables.config import AnyTrialConfig, Config

if TYPE_CHECKING:
    from trainables.profiling.gpu_process import (
        Beginning,  # imports torch, but every session's rows need this module
    )

PROCESSES = (1, 2, 4, 8)
"""Numbers of processes on one GPU that are measured. All are powers of two, so that shares of a GPU are exact in Ray's
accounts, which round to four digits."""

LEAST_GAIN = 0.1
"""Smallest relative gain of combined throughput for which the number of processes is doubled further. Doubling makes each
trial take nearly twice as long, and early stopping gets its reports that much later."""

NEAR_BEST = 0.03
"""Largest relative shortfall from the best throughput that is accepted in favour of fewer processes. Repeated measurements
of a few seconds may differ by this much."""

USABLE_MEMORY = 0.95
"""Share of a GPU's memory that the processes may need together; the rest is reserved for differences between trials."""


class Sharing(Config):
    """Measurement of processes that train the same trial on one GPU; stored with a sweep's sessions."""

    device_name: str
    """Model name of the GPU."""

    gpu_bytes: int
    """Memory of the GPU in bytes; 0 if torch finds no GPU and trials run on the CPU."""

    needs_bytes: int
    """Peak GPU memory of one process, in bytes."""

    cpus: float
    """CPU cores of each process."""

    rates: dict[int, float]
    """Combined throughput in pseudo batches, or updates, per second, by number of processes."""

    stopped: str
    """Why no larger number of processes was measured."""

    @property
    def best(self) -> int:
        """Smallest number of processes whose combined throughput is within ``NEAR_BEST`` of the best."""
        enough = (1 - NEAR_BEST) * max(self.rates.values())
        return min(processes for processes, rate in self.rates.items() if rate >= enough)

    def trials_per_gpu(self, wanted: int) -> int:
        """Return the number of trials that share each GPU.

        Args:
            wanted: Number of trials to run per GPU. If this is below ``best``, each trial gets a larger share of a GPU.
        """
        return next((number for number in self.rates if wanted <= number < self.best), self.best)

    def ratio(self, processes: int) -> float:
        """Return the combined throughput of ``processes`` relative to one process."""
        return self.rates[processes] / self.rates[1]

    def sentence(self, trials: int) -> str:
        """Return a line that justifies the number of trials per GPU by the measurement."""
        needs = readable(self.needs_bytes)
        if trials == 1:
            said = "each trial has a GPU to itself" + f" and needs {needs} of its memory" * bool(self.needs_bytes)
        else:
            gain = f"{trials} gave {self.ratio(trials):.2f} times the throughput of one"
            said = f"{trials} trials share a GPU: {gain}" + f", each needs {needs}" * bool(self.needs_bytes)
        return f"{said} ({self.stopped})"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU of a running machine: its model name, its memory in bytes, and the machine's address."""

    device_name: str
    gpu_bytes: int
    address: str


class SharingError(Exception):
    """Raised when processes on a GPU cannot be measured; the message says why."""


class ColocatedTrials(Protocol):
    """Interface of a group of processes on one GPU that train the same trial."""

    def scale_to(self, processes: int) -> Beginning:
        """Start processes until there are ``processes`` that have begun to train and are waiting.

        Returns:
            The GPU and the speed that one of the new processes has measured.

        Raises:
            SharingError: a process could not start.
        """

    def peak_memory(self) -> int:
        """Return the peak GPU memory of one process in bytes. Must be called while there is only one process.

        Raises:
            SharingError: the measurement failed, for example because the process died.
        """

    def throughput(self) -> float:
        """Return the combined throughput while all processes train, in pseudo batches, or updates, per second.

        Raises:
            SharingError: the measurement failed, for example because a process died.
        """


class Gpus(Protocol):
    """Interface of the GPUs on which several trials may run at once."""

    def smallest(self) -> Gpu | None:
        """Return the GPU with the least memory; None if torch finds no GPU, or no machine is running yet."""

    def colocated(
        self, config: AnyTrialConfig, *, cpus: float, most: int, seconds: float, patience: float, on: str | None = None
    ) -> AbstractContextManager[ColocatedTrials]:
        """Reserve a GPU for the length of a block, with no process on it at first.

        Args:
            config: Config of the trial that all processes train.
            cpus: CPU cores of each process.
            most: Largest number of processes.
            seconds: Seconds for which the processes train during a measurement of their throughput.
            patience: Time limit for all measurements together, in seconds from the moment at which the GPU is reserved.
            on: Address of the machine whose GPU is used. None means any machine.

        Raises:
            SharingError: no GPU became available.
        """


def measure_sharing(
    colocated: ColocatedTrials, *, cpus: float, most: int, worth_it: Callable[[float], bool]
) -> Sharing | None:
    """Measure the throughput of more and more processes on one GPU.

    The number of processes is doubled while there is memory for them and their combined throughput grows by ``LEAST_GAIN``.

    Args:
        colocated: The processes on one GPU; none has been started yet.
        cpus: CPU cores of each process.
        most: Largest number of processes.
        worth_it: Function that returns whether measuring is worthwhile, given the seconds per pseudo batch or update.

    Returns:
        The measurement; None if it is not worthwhile.

    Raises:
        SharingError: not even one process could be measured.
    """
    first = colocated.scale_to(1)
    if not worth_it(first.seconds_each):
        return None
    needs = colocated.peak_memory()
    rates = {1: colocated.throughput()}
    stopped = f"more than {PROCESSES[-1]} were not tried"
    for fewer, processes in pairwise(PROCESSES):
        if processes > most:
            stopped = f"there are no CPU cores for {processes}"
            break
        if processes * needs > USABLE_MEMORY * first.gpu_bytes and first.gpu_bytes:
            stopped = f"{processes} would need {readable(processes * needs)} of {readable(first.gpu_bytes)}"
            break
        try:
            colocated.scale_to(processes)
            rates[processes] = colocated.throughput()
        except SharingError as error:
            stopped = f"{processes} could not be measured: {error}"
            break
        gain = rates[processes] / rates[fewer]
        if gain < 1 + LEAST_GAIN:
            stopped = f"{processes} gave {gain:.2f} times the throughput of {'one' if fewer == 1 else fewer}"
            break
    return Sharing(
        device_name=first.device_name,
        gpu_bytes=first.gpu_bytes,
        needs_bytes=needs,
        cpus=cpus,
        rates=rates,
        stopped=stopped,
    )
