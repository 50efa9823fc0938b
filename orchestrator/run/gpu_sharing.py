"""How many trials should share a GPU: what is measured of one, two, four and eight of them, and what follows."""

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
        Beginning,  # brings torch, and this is part of what every session writes
    )

PROCESSES = (1, 2, 4, 8)
"""Processes on one GPU that are measured. All are powers of two: parts of a GPU are then exact in Ray's accounts, which
round to four digits."""

LEAST_GAIN = 0.1
"""Twice as many processes must come to so much more together, or no more are tried: each trial takes nearly twice as long
then, and early stopping, which compares them, learns as much later."""

NEAR_BEST = 0.03
"""The fewest processes win whose throughput is below the best by no more than this, which is what repeated measurements of a
few seconds may differ by."""

USABLE_MEMORY = 0.95
"""Share of a GPU's memory that the processes may need together: the rest is for what differs between trials."""


class Sharing(Config):
    """What was measured of processes that train the same trial on one GPU; kept with a sweep's sessions."""

    device_name: str
    """What the maker calls the GPU."""

    gpu_bytes: int
    """Its memory; 0 where torch finds no GPU and trials run on the CPU."""

    needs_bytes: int
    """Memory of it that one process takes at most."""

    cpus: float
    """CPU cores of each process."""

    rates: dict[int, float]
    """Pseudo batches, or updates, a second that so many processes come to together."""

    stopped: str
    """Why no more processes were tried."""

    @property
    def best(self) -> int:
        """The fewest processes whose throughput is near the best."""
        enough = (1 - NEAR_BEST) * max(self.rates.values())
        return min(processes for processes, rate in self.rates.items() if rate >= enough)

    def trials_per_gpu(self, wanted: int) -> int:
        """Trials that share each GPU.

        Args:
            wanted: Trials there are for each GPU. With fewer than could share one, each has more of it.
        """
        return next((number for number in self.rates if wanted <= number < self.best), self.best)

    def ratio(self, processes: int) -> float:
        """Times the throughput of one that so many have."""
        return self.rates[processes] / self.rates[1]

    def sentence(self, trials: int) -> str:
        """What so many trials on a GPU rest on, in a line."""
        needs = readable(self.needs_bytes)
        if trials == 1:
            said = "each trial has a GPU to itself" + f", of which it needs {needs}" * bool(self.needs_bytes)
        else:
            gain = f"{trials} gave {self.ratio(trials):.2f} times the throughput of one"
            said = f"{trials} trials share a GPU: {gain}" + f", each needs {needs}" * bool(self.needs_bytes)
        return f"{said} ({self.stopped})"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU of a machine that is there."""

    device_name: str
    gpu_bytes: int
    address: str


class SharingError(Exception):
    """Processes on a GPU could not be measured; the message says why."""


class ColocatedTrials(Protocol):
    """Processes on one GPU that train the same trial."""

    def scale_to(self, processes: int) -> Beginning:
        """Have so many that have begun to train and wait.

        Returns:
            What one that has come new knows.

        Raises:
            SharingError: one could not.
        """

    def peak_memory(self) -> int:
        """Bytes of the GPU that one process takes at most; asked while it is alone.

        Raises:
            SharingError: it died, for example.
        """

    def throughput(self) -> float:
        """Pseudo batches, or updates, a second that all do together while all of them train.

        Raises:
            SharingError: one died, for example.
        """


class Gpus(Protocol):
    """GPUs on which several trials may run at once."""

    def smallest(self) -> Gpu | None:
        """Return the GPU with the least memory; None where torch finds none, or no machine is up yet."""

    def colocated(
        self, config: AnyTrialConfig, *, cpus: float, most: int, seconds: float, patience: float, on: str | None = None
    ) -> AbstractContextManager[ColocatedTrials]:
        """Hold a GPU for the length of a block, with nobody on it yet.

        Args:
            config: What is trained.
            cpus: CPU cores of each process.
            most: How many processes there will be.
            seconds: For which they train while they are counted.
            patience: Seconds in which everything must be over, from the moment at which there is a GPU.
            on: Address of a machine whose GPU it is. Defaults to any.

        Raises:
            SharingError: no GPU came free.
        """


def measure_sharing(
    colocated: ColocatedTrials, *, cpus: float, most: int, worth_it: Callable[[float], bool]
) -> Sharing | None:
    """Double the processes as long as memory holds them and that brings something.

    Args:
        colocated: Processes on one GPU; none has begun yet.
        cpus: CPU cores of each.
        most: How many there may be.
        worth_it: Whether to go on, from the seconds that a pseudo batch or update takes.

    Returns:
        None where it is not worth it.

    Raises:
        SharingError: not even one could be measured.
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
