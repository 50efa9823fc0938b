"""Reservoir sampling: a pool of fixed size that stands for all images ever made."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.training.data_free.pools.policies import PoolPolicy


class Reservoir(PoolPolicy):
    """Keep ``pool_size`` images, each of all those made so far with the same probability (Vitter, 1985, algorithm R)."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        slots = list(range(held))
        if held > size:  # a trial that took over from one with a larger pool
            slots = sorted(torch.randperm(held, generator=stream)[:size].tolist())
        before = seen - added
        for number in range(added):
            come = before + number + 1  # the image is the so-manieth of all
            if len(slots) < size:
                slots.append(held + number)
                continue
            slot = int(torch.randint(come, (1,), generator=stream))
            if slot < size:
                slots[slot] = held + number
        return torch.tensor(sorted(slots))
