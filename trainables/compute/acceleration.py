"""Faster networks for ``numerics=fast``, and compilation of the training loop for ``compilation``."""

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
    """Prepare the networks for ``numerics=fast``: less work and better use of memory, equal up to rounding."""
    if not teacher.watched:  # a watched module could be folded into another
        teacher.fold_batch_norms()
    if generator is not None:
        generator.fused_upsampling = True
        generator.to(memory_format=torch.channels_last)
    for network in (teacher, student):
        network.to(memory_format=torch.channels_last)


def capturable_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Return Adam for a GPU with ``numerics=fast``, equal to the usual Adam up to rounding.

    One kernel updates all parameters, and step and learning rate are tensors on the GPU, which a CUDA graph can read.
    """
    kept = list(parameters)
    rate = torch.tensor(lr, device=kept[0].device)
    return torch.optim.Adam(kept, lr=rate, fused=True, capturable=True)


@cache
def compile_error(device: torch.device) -> str | None:
    """Return why torch cannot compile for a device, in one line; None if torch can. Takes a few seconds the first time.

    A small function is compiled, since a missing C++ compiler, missing Python headers or an unwritable cache show only then,
    and the user should know before a trial begins.
    """
    try:
        torch.compile(_small, dynamic=False)(torch.ones(2, device=device))
    except Exception as error:  # whatever the error, trials run without compilation
        return _reason(error)
    return None


def forget_compiled() -> None:
    """Drop all code that this process has compiled; the cache on disk stays.

    Otherwise torch would take the loops of several trials in one process for variants of one function. Torch generalises
    the second variant, which changes rounding, and no longer compiles the ninth, which costs speed.
    """
    torch.compiler.reset()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, to be compiled at its first call for exactly the shapes of that call."""
    result: Callable[P, R] = torch.compile(function, dynamic=False)
    return result


def _reason(error: Exception) -> str:
    """Return an error in one line; if torch has wrapped another error, the inner error."""
    if "InvalidCxxCompiler" in repr(error) or "No working C++ compiler" in str(error):
        return "there is no C++ compiler: install g++"
    inner = getattr(error, "inner_exception", None) or error.__cause__ or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__


def _small(values: torch.Tensor) -> torch.Tensor:
    return values.relu() + 1
