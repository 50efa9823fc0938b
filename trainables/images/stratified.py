"""Stratified split of images: the held-out part has an equal share of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.seeding import stream


def stratified(labels: Tensor, fraction: float, *, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Return the indices of the held-out and of the kept images, each in ascending order.

    Each part gets at least one image of each class that has two or more, unless the fraction is 0.

    Args:
        labels: Classes of all images, int64 (count,).
        fraction: Share of each class that is held out, in [0, 1).
        seed: Seed of the random choice of images.
        purpose: Name of the random stream, so that two splits with equal seeds are independent.
    """
    if fraction == 0 or not len(labels):
        return torch.arange(0), torch.arange(len(labels))
    generator = stream(seed, purpose)
    held_out = []
    for label in labels.unique(sorted=True):
        members = torch.nonzero(labels == label).flatten()
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        held_out.append(members[torch.randperm(len(members), generator=generator)[:count]])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.cat(held_out)] = True
    return torch.nonzero(chosen).flatten(), torch.nonzero(~chosen).flatten()
