"""What a trial's process does with the share of a machine that was set aside for it."""

from __future__ import annotations

import torch


def claim_device(*, cpus: float, gpus: float) -> torch.device:
    """Set torch up for so many CPU cores and GPUs, and say where to compute.

    Bits depend on the number of threads, so it follows from the share and not from the machine. TF32 is off: the
    published runs on PyTorch 1.0 had none, and today's default would use it in convolutions.
    """
    torch.set_num_threads(max(1, int(cpus)))
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")
