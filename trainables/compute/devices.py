"""What a trial's process does with the share of a machine that was set aside for it."""

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
    """Set torch up for so many CPU cores and GPUs, and say where to compute.

    Bits depend on the number of threads, so it follows from the share and not from the machine. TF32 is off, but
    in a ``tf32`` block. Of a GPU's memory torch may take as large a part as of the GPU, so that a trial which grows runs
    out of its own and not of its neighbours'; what CUDA itself takes in each process comes on top.
    """
    torch.set_num_threads(max(1, int(cpus)))
    keep_freed_memory()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if gpus <= 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    # For a whole GPU too: the process may have served a trial with a part of one.
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpus))
    return torch.device("cuda")


def is_asynchronous(device: torch.device) -> bool:
    """Return whether Python only queues work for the device, as for a GPU, and does not wait for it."""
    return device.type == "cuda"


def send(numbers: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Numbers made on the CPU, where they are needed; a GPU fetches them without anybody waiting."""
    if device.type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


@cache
def device_name(device: torch.device) -> str:
    """What the maker calls the GPU, or the machine's CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):  # there is no such file but on Linux
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):  # x86; ARM has none
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Bytes of a GPU that this process has needed at most, with what CUDA takes beside torch's allocator; 0 on a CPU.

    What others have taken of the GPU by now counts as if it were ours.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    beside = max(0, total - free - torch.cuda.memory_reserved(device))
    return int(torch.cuda.max_memory_reserved(device) + beside)


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Within the block, whether a GPU may round the factors of float32 convolutions and matrix products to 10 bits.

    The published runs on PyTorch 1.0 did not; today's default would, in convolutions.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep large blocks instead of returning each to the system, once for the process.

    Activations are freed and asked for again at every step, and the page faults of that cost a twentieth of a trial's
    time on a CPU. Elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


# Numbers of these settings in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
