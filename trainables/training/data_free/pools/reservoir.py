"""Reservoir sampling: a pool of fixed size that is a uniform sample of all images ever made."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.training.data_free.pools.policies import PoolPolicy


class Reservoir(PoolPolicy):
    """Keep ``pool_size`` images, every image made so far with equal probability (Vitter, 1985, algorithm R)."""

    def kept(self, *, held: int, added: int, seen: int, size: int, stream: torch.Generator) -> Tensor:
        slots = list(range(held))
        if held > size:  # the trial inherited a larger pool from another trial
            slots = sorted(torch.randperm(held, generator=stream)[:size].tolist())
        before = seen - added
        for number in range(added):
            come = before + number + 1  # images made so far, including this one
            if len(slots) < size:
                slots.append(held + number)
                continue
            slot = int(torch.randint(come, (1,), generator=stream))
            if slot < size:
                slots[slot] = held + number
        return torch.tensor(sorted(slots))
