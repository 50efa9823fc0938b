"""How evenly a network spreads images over the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def class_balance(counts: Tensor) -> float:
    """Entropy of a class histogram (classes,) over its largest possible value, in [0, 1]: 0 where there is one class."""
    shares = counts / counts.sum().clamp_min(1)
    return float(torch.special.entr(shares).sum()) / math.log(len(counts))
