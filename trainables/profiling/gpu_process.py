"""One process of the GPU-sharing benchmark: it trains a dummy trial while the combined throughput is measured.

Its dummies are as large as the real teacher and images: neither time nor memory depends on what they show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trainables.compute.cuda_graphs import WARM_UPS
from trainables.compute.devices import claim_device, device_name
from trainables.compute.devices import peak_memory as peak_memory_of
from trainables.config import AnyTrialConfig
from trainables.evaluation import transition_curves
from trainables.images.splits import DatasetSplits
from trainables.profiling.dummies import ConstantPrediction, dummy_probe, dummy_splits, dummy_teacher
from trainables.system.own_files import OwnFile, hold
from trainables.training.protocol import Training, TrainingInputs, training_class

_CURVE_IMAGES = 256
"""Images on which transition curves are tried: more than a GPU takes at once, so that memory is at its highest."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a process knows once it has begun to train."""

    device_name: str
    gpu_bytes: int
    """Memory of the GPU; 0 where it computes on a CPU."""

    seconds_each: float
    """For one pseudo batch, or update, with nobody beside it that trains."""


class ColocatedTrial:
    """A trial that shares its GPU with others. Nothing is built before ``begin``."""

    def __init__(self, config: AnyTrialConfig, *, cpus: float, code: Sequence[OwnFile] = ()) -> None:
        """Prepare a process.

        Args:
            config: The trial's settings.
            cpus: Its CPU cores.
            code: Files of the user's own that the settings may name.
        """
        hold(code)
        self._config = config
        self._cpus = cpus

    def begin(self) -> Beginning:
        """Build the training, and do the first pseudo batches or updates, which are slow, and one more."""
        # A whole GPU, as far as it knows: what it needs is found out, and not what it would be allowed.
        device = claim_device(cpus=self._cpus, gpus=1)
        self._training = dummy_training(self._config, device)
        self._device = device
        for _ in range(WARM_UPS + 1):  # behind them a loop with ``cuda_graphs`` is recorded
            self.throughput(0)
        total = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
        return Beginning(device_name=device_name(device), gpu_bytes=total, seconds_each=1 / self.throughput(0))

    def peak_memory(self) -> int:
        """Return the bytes of the GPU that a trial takes at most, measuring its student counted in; 0 on a CPU.

        Only right while this is the only process there.
        """
        training = self._training
        training.report()
        images = min(training.config.transition_images, len(training.splits.test), _CURVE_IMAGES)
        if images and training.teacher is not None:
            student, teacher = ConstantPrediction(training.student), ConstantPrediction(training.teacher)
            transition_curves(student, teacher, training.splits.test, training.normalisation, images=images, steps=2)
        return peak_memory_of(self._device)

    def throughput(self, seconds: float) -> float:
        """Return how many pseudo batches, or updates, this process does a second.

        Args:
            seconds: For how long it trains; at least for one of them.
        """
        training = self._training
        done, start = 0, time.perf_counter()
        wait = _end_of_the_queue(self._device)
        while done == 0 or time.perf_counter() - start < seconds:
            training.step()
            done += 1
            # One of them stays queued while the next is prepared, as in a trial; more would outlast the time.
            wait()
            wait = _end_of_the_queue(self._device)
        wait()
        return done / (time.perf_counter() - start)


def dummy_training(config: AnyTrialConfig, device: torch.device) -> Training:
    """Build a trial with a dummy teacher and black images, of each as much as the real trial has."""
    spec = config.spec
    config = config.from_scratch()
    splits = dummy_splits(
        config,
        train=spec.training_images if config.learns_from_images else 0,
        test=spec.test_images + round(spec.training_images * config.validation_fraction),
    )
    with_teacher = config.teacher is not None
    inputs = TrainingInputs(
        splits=splits if config.reads_images else DatasetSplits.without_images(spec),
        teacher=dummy_teacher(config) if with_teacher else None,
        probe=dummy_probe(config) if with_teacher else None,
    )
    return training_class(config).build(config, inputs, device)


def _end_of_the_queue(device: torch.device) -> Callable[[], None]:
    """Waits for what the device has been given by now; a CPU has done it."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event.synchronize
