"""CUDA graphs (``cuda_graphs``): the thousands of kernels of a pseudo batch recorded once, and launched as one.

The host needs longer to launch the loop's small kernels than a GPU to run them; a recording is launched in one call.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from trainables.errors import RecordingError
from trainables.seeding import host_states

WARM_UPS = 3
"""Calls before the recording. They make what must not be made in it: Adam's moments, workspaces, compiled code."""


class Recorded:
    """A function, from its fourth call on launched as a recording of what it did on the GPU.

    What it did in Python happens in the first calls only. So it may depend on nothing but tensors that stay where they are
    and its inputs, changes such tensors in place and returns nothing.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        """Nothing is called yet.

        Args:
            function: Takes tensors, of the same shapes, types and device at each call.
        """
        self._function = function
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor) -> None:
        """Do what the function does.

        Raises:
            RecordingError: it does what cannot be recorded.
        """
        if self._replay is None and self._calls < WARM_UPS:
            self._calls += 1
            warm_up(lambda: self._function(*inputs))
            return
        if self._replay is None:
            self._inputs = [values.clone() for values in inputs]
            self._replay = record(lambda: self._function(*self._inputs))
        for kept, values in zip(self._inputs, inputs, strict=True):
            kept.copy_(values, non_blocking=True)
        self._replay()


def warm_up(work: Callable[[], None]) -> None:
    """Do the work on the stream of later recordings, as torch asks for, so that workspaces and memory are made for it."""
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


def record(work: Callable[[], object]) -> Callable[[], None]:
    """Record the kernels that the work launches, without running them; the result runs them.

    Raises:
        RecordingError: the work waits for the GPU, draws random numbers elsewhere than there, or does what else cannot be
            recorded.
        torch.OutOfMemoryError: there is no room for it.
    """
    torch.cuda.synchronize()  # what went wrong before is no fault of the recording
    before = torch.cuda.current_stream()
    graph = torch.cuda.CUDAGraph()
    try:
        with (
            without_draws_on_the_host(),
            _without_collections(),
            torch.cuda.graph(graph, stream=_stream(), capture_error_mode="thread_local"),
        ):
            work()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # The end of a recording that has failed fails as well, and says less.
        cause = error.__context__ or error
        first_line = str(cause).partition("\n")[0]
        raise RecordingError(
            f"cuda_graphs=true: the loop cannot be recorded here ({first_line}); allowed: false"
        ) from error
    finally:
        torch.cuda.set_stream(before)  # which torch leaves undone where a recording fails
    replay: Callable[[], None] = graph.replay
    return replay


@contextmanager
def without_draws_on_the_host() -> Iterator[None]:
    """Refuse a block that draws random numbers on the CPU: a recording would use the same ones again and again.

    What is drawn on the GPU is drawn anew by each launch, from the state in which torch's generator is then.

    Raises:
        RecordingError: it does.
    """
    before = host_states()
    yield
    if host_states() != before:
        raise RecordingError(
            "cuda_graphs=true: a network draws random numbers on the CPU (by random, numpy.random or torch without "
            "device=), which a recording would repeat; allowed: false, or a network that draws them on its images' device"
        )


@cache
def _stream() -> torch.cuda.Stream:
    """One for the process: memory and workspaces are kept for each stream."""
    return torch.cuda.Stream()


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage is collected in the block: an older recording that is freed during a new one spoils it."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
