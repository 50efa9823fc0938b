"""What ``numerics=fast`` does to the networks, and ``compilation`` to the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from trainables.networks import Network
from trainables.networks.generator import Generator

P = ParamSpec("P")
R = TypeVar("R")


def use_fast_numerics(*, teacher: Network, student: Network, generator: Generator | None = None) -> None:
    """Prepare the networks of ``numerics=fast``: less work and better use of memory, equal up to rounding."""
    if not teacher.watched:  # else a folded module could be one of those
        teacher.fold_batch_norms()
    if generator is not None:
        generator.fused_upsampling = True
        generator.to(memory_format=torch.channels_last)
    for network in (teacher, student):
        network.to(memory_format=torch.channels_last)


def capturable_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Return Adam for a GPU with ``numerics=fast``.

    One kernel for all parameters, and step and rate where a CUDA graph sees them. Equal to the usual one up to rounding.
    """
    kept = list(parameters)
    rate = torch.tensor(lr, device=kept[0].device)
    return torch.optim.Adam(kept, lr=rate, fused=True, capturable=True)


@cache
def compile_error(device: torch.device) -> str | None:
    """Return why torch cannot compile for a device, in a line; None if it can. Takes a few seconds the first time.

    Tried with a small function, because what is missing (a C++ compiler, Python's headers, a writable cache) shows only
    then, and is better said before a trial than in the middle of it.
    """
    try:
        torch.compile(_small, dynamic=False)(torch.ones(2, device=device))
    except Exception as error:  # whatever it is, trials run without
        return _reason(error)
    return None


def forget_compiled() -> None:
    """Drop what this process has compiled; the cache on disk stays.

    Left in place, the loops of many trials in one process would count as variants of one function, of which torch
    generalises the second and gives up on the ninth: other bits, then no speed.
    """
    torch.compiler.reset()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled at its first call for exactly the shapes that it sees there."""
    result: Callable[P, R] = torch.compile(function, dynamic=False)
    return result


def _reason(error: Exception) -> str:
    """The error in a line; of one that torch has wrapped, what was wrapped."""
    if "InvalidCxxCompiler" in repr(error) or "No working C++ compiler" in str(error):
        return "there is no C++ compiler: install g++"
    inner = getattr(error, "inner_exception", None) or error.__cause__ or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__


def _small(values: torch.Tensor) -> torch.Tensor:
    return values.relu() + 1
