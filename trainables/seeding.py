"""One random stream for each purpose, so that drawing more in one place changes nothing in another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that differs for every pair of seed and purpose."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator of its own for ``purpose``, on ``device``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


@contextmanager
def seeded_initialisation(seed: int, purpose: str) -> Iterator[None]:
    """Within the block, layers draw their initial weights from a stream of their own; the global state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, purpose))
        yield
