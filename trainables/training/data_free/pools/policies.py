"""Pool policies: which of the images made so far a student can be given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class PoolPolicy(ABC):
    """Decides, whenever images are added, which ones a pool goes on holding."""

    keeps: ClassVar[bool] = True
    """Whether there is a pool at all; without one the student learns from each pseudo batch alone."""

    @abstractmethod
    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        """Return which images are held from now on.

        Args:
            held: How many were held so far.
            added: How many have come.
            seen: How many have come in all, these counted in.
            size: The trial's ``pool_size``.
            stream: To draw from, on the CPU.

        Returns:
            Whole numbers below ``held + added``, ascending, (images,): those that were held come before those that have
            come.
        """


class NoPool(PoolPolicy):
    """Keep what has come last alone: the student learns from each pseudo batch by itself."""

    keeps = False

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(held, held + added)


class KeepAll(PoolPolicy):
    """Keep every image ever made (CMI, Fast)."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(held + added)


class KeepNewest(PoolPolicy):
    """Keep the newest ``pool_size`` images: those made for a student that is no more are forgotten."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(max(0, held + added - size), held + added)
