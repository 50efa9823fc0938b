"""Pool policies, which decide which pseudo images a pool keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class PoolPolicy(ABC):
    """Decides which images a pool keeps whenever images are added."""

    keeps: ClassVar[bool] = True
    """Whether there is a pool. Without a pool the student learns only from the images of the current pseudo batch."""

    @abstractmethod
    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        """Return the indices of the images to keep.

        Args:
            held: Number of images in the pool before the addition.
            added: Number of images that are added.
            seen: Number of images that were ever added, including these.
            size: The trial's ``pool_size``.
            stream: Random stream to draw from, on the CPU.

        Returns:
            Ascending whole numbers (images,): from 0 for the images in the pool, from ``held`` to ``held + added - 1`` for
            the added images.
        """


class NoPool(PoolPolicy):
    """Keep only the images added last: the student learns from each pseudo batch separately."""

    keeps = False

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(held, held + added)


class KeepAll(PoolPolicy):
    """Keep every image ever made (CMI, Fast)."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(held + added)


class KeepNewest(PoolPolicy):
    """Keep the newest ``pool_size`` images, and drop those made with earlier states of the student."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        return torch.arange(max(0, held + added - size), held + added)
