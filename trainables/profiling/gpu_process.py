"""One process of the GPU-sharing benchmark, which trains a dummy trial while the combined throughput is measured.

The dummy teacher and images are as large as the real ones, and time and memory do not depend on their contents.
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
"""Images whose transition curves are computed: more than a GPU takes in one batch, so that memory reaches its peak."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Facts that a benchmark process reports after its first steps."""

    device_name: str
    gpu_bytes: int
    """Total memory of the GPU in bytes. 0 on a CPU."""

    seconds_each: float
    """Seconds of one step while no other process trains on the GPU."""


class ColocatedTrial:
    """Trial that shares its GPU with others. Nothing is built before ``begin``."""

    def __init__(self, config: AnyTrialConfig, *, cpus: float, code: Sequence[OwnFile] = ()) -> None:
        """Prepare a process.

        Args:
            config: The trial's settings.
            cpus: The trial's CPU cores.
            code: The user's own files that the settings may name.
        """
        hold(code)
        self._config = config
        self._cpus = cpus

    def begin(self) -> Beginning:
        """Build the training, do the first steps, which are slow, and time one more step."""
        # A whole GPU without a memory limit: the benchmark measures what the trial needs.
        device = claim_device(cpus=self._cpus, gpus=1)
        self._training = dummy_training(self._config, device)
        self._device = device
        for _ in range(WARM_UPS + 1):  # after these steps a loop with ``cuda_graphs`` is recorded
            self.throughput(0)
        total = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
        return Beginning(device_name=device_name(device), gpu_bytes=total, seconds_each=1 / self.throughput(0))

    def peak_memory(self) -> int:
        """Return the trial's peak of GPU memory in bytes, including its evaluation; 0 on a CPU.

        The number is correct only while no other process uses the GPU.
        """
        training = self._training
        training.report()
        images = min(training.config.transition_images, len(training.splits.test), _CURVE_IMAGES)
        if images and training.teacher is not None:
            student, teacher = ConstantPrediction(training.student), ConstantPrediction(training.teacher)
            transition_curves(student, teacher, training.splits.test, training.normalisation, images=images, steps=2)
        return peak_memory_of(self._device)

    def throughput(self, seconds: float) -> float:
        """Train for a while and return the steps per second.

        Args:
            seconds: Seconds to train for; at least one step is done.
        """
        training = self._training
        done, start = 0, time.perf_counter()
        wait = _end_of_the_queue(self._device)
        while done == 0 or time.perf_counter() - start < seconds:
            training.step()
            done += 1
            # One step stays queued while the next is prepared, as in a trial; a longer queue would run past ``seconds``.
            wait()
            wait = _end_of_the_queue(self._device)
        wait()
        return done / (time.perf_counter() - start)


def dummy_training(config: AnyTrialConfig, device: torch.device) -> Training:
    """Build a training with a dummy teacher and black images, as many as the real trial has."""
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
    """Return a function that waits until the device has finished all work queued so far; on a CPU nothing is queued."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event.synchronize
