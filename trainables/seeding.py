"""Random streams, one for each purpose, so that drawing more numbers in one place changes nothing in another.

This package itself draws from generators of its own (``stream``). Networks draw from the global random states of the
process, as torch's layers do: initial weights, Dropout, stochastic depth. For networks the global states are seeded for a
block of code and restored after the block (``seeded``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from trainables.config.base import derive_seed

_NUMPY_SEEDS = 2**32


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new random generator on ``device``, seeded by the seed and the purpose."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the process's global random states by the seed and ``purpose`` for the duration of the block, then restore them.

    The states are those of torch on the CPU and on ``device``, of NumPy and of Python. Since no state outlives the block,
    trials that take turns in a process do not influence each other, and a trial that numbers its blocks can be resumed at
    any of them.
    """
    derived = derive_seed(seed, purpose)
    gpu = torch.device(device) if torch.device(device).type == "cuda" else None
    before_torch, before_numpy, before_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    before_gpu = (
        None if gpu is None else torch.cuda.get_rng_state(gpu)
    )  # seed and offset only: does not wait for the GPU
    try:
        torch.default_generator.manual_seed(derived)  # torch.manual_seed would seed the GPUs as well
        np.random.seed(derived % _NUMPY_SEEDS)
        random.seed(derived)
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(derived)
        yield
    finally:
        torch.set_rng_state(before_torch)
        np.random.set_state(before_numpy)
        random.setstate(before_python)
        if gpu is not None and before_gpu is not None:
            torch.cuda.set_rng_state(before_gpu, gpu)


def host_states() -> tuple[object, ...]:
    """Return the global random states on the CPU in comparable form: equal to earlier ones if nothing was drawn since."""
    of_numpy = np.random.get_state(legacy=False)
    numbers, position = of_numpy["state"]["key"].tobytes(), of_numpy["state"]["pos"]
    return random.getstate(), numbers, position, of_numpy["gauss"], torch.get_rng_state().numpy().tobytes()


seeded_initialisation = seeded
"""Earlier name of ``seeded``, kept since docs/toy_example.py once used it."""
