"""Check that a machine computes in ``bfloat16`` natively: emulation is slow."""

from __future__ import annotations

import torch

from trainables.compute.devices import device_name
from trainables.config import AnyTrialConfig
from trainables.errors import PrecisionError

_INSTRUCTIONS = {"amx_bf16": "AMX_BF16", "avx512_bf16": "AVX512_BF16", "sve_bf16": "SVE_BF16", "bf16": "Arm's BF16"}
"""Torch's names of CPU instructions for bfloat16, and the makers' names of them, the fastest first."""


def bfloat16_instructions(device: torch.device) -> str | None:
    """Return the name of the instructions by which a device computes in bfloat16; None if the device has none."""
    if device.type == "cuda":
        return "the GPU's own" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capabilities = torch.cpu.get_capabilities()
    return next((name for key, name in _INSTRUCTIONS.items() if capabilities.get(key)), None)


def why_slow(config: AnyTrialConfig, device: torch.device) -> str | None:
    """Return a message about what a trial's precision costs on a device that emulates it.

    None if the device computes in that precision natively, or if the config allows slow precision. The figures were measured
    on CPUs with a small pseudo batch (``docs/performance.md``); no GPU has been measured.
    """
    if not config.needs_bfloat16 or bfloat16_instructions(device):
        return None
    figure = (
        "" if device.type == "cuda" else " (0.32 s against 0.16 s, and 18.9 s against 0.97 s, for a small pseudo batch)"
    )
    times = "longer than" if device.type == "cuda" else "2 to 18 times as long as"
    return (
        f"precision=bfloat16: {device_name(device)} has no instructions for it and takes {times} for float32{figure}; "
        "allowed: precision=float32, or allow_slow_precision=true beside it to accept that"
    )


def check_precision(config: AnyTrialConfig, device: torch.device) -> None:
    """Refuse a precision that the device emulates, unless the config allows slow precision.

    Raises:
        PrecisionError: the device emulates the precision. The message says what that costs.
    """
    reason = why_slow(config, device)
    if reason:
        raise PrecisionError(reason)
