"""Setup of a trial's process for its share of a machine: threads, GPU memory, TF32, and the CPU's allocator."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch


def claim_device(*, cpus: float, gpus: float) -> torch.device:
    """Set torch up for a share of a machine, and return the device to compute on.

    The number of threads follows from ``cpus`` and not from the machine, since results depend on the number of threads.
    TF32 is off outside a ``tf32`` block. Torch may use the share ``gpus`` of the GPU's memory, so that a trial that needs
    too much runs out of memory without affecting other trials on the GPU. The memory that CUDA itself needs in each process
    comes on top.

    Args:
        cpus: CPU cores of the trial.
        gpus: GPUs of the trial, perhaps a fraction of one.
    """
    torch.set_num_threads(max(1, int(cpus)))
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if gpus <= 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    # For a whole GPU too, since the process may have run a trial with a part of a GPU before.
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpus))
    return torch.device("cuda")


def is_asynchronous(device: torch.device) -> bool:
    """Return whether Python only queues work for the device without waiting for the result, as for a GPU."""
    return device.type == "cuda"


def send(numbers: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a CPU tensor's copy on the device; the copy to a GPU does not make the CPU wait."""
    if device.type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


@cache
def device_name(device: torch.device) -> str:
    """Return the maker's name of the GPU or of the machine's CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):  # x86; ARM has none
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Return this process's peak of GPU memory in bytes, including CUDA's own memory beside torch's allocator; 0 on a CPU.

    The memory that other processes use at the moment of the call is included too.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    beside = max(0, total - free - torch.cuda.memory_reserved(device))
    return int(torch.cuda.max_memory_reserved(device) + beside)


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 within the block.

    With TF32 a GPU may round the factors of float32 convolutions and matrix products to 10 bits. The published runs on
    PyTorch 1.0 did not use TF32; today's default would use TF32 in convolutions.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def keep_freed_memory() -> None:
    """Make glibc's allocator keep large freed blocks, instead of returning them to the system, in this process.

    Activations are freed and allocated again at every step, and the page faults cost a twentieth of a trial's time on a CPU.
    Without Linux and glibc this function does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


# Numbers of mallopt's parameters in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
