"""CUDA graphs (``cuda_graphs``): the thousands of kernels of a pseudo batch are recorded once and launched in one call.

Launching the loop's small kernels one by one takes the CPU longer than running them takes the GPU.
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
"""Calls before the recording. They create what must exist before it: Adam's moments, workspaces, compiled code."""


class Recorded:
    """Function that is replayed as a CUDA graph from its fourth call on.

    A replay runs the function's kernels, but none of its Python code. The function may therefore depend only on its inputs
    and on tensors that keep their memory, must change such tensors in place, and must return nothing.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        """Wrap a function, without calling it.

        Args:
            function: Function of tensors, which have the same shapes, types and device at each call.
        """
        self._function = function
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor) -> None:
        """Call the function, or replay its recording.

        Raises:
            RecordingError: the function cannot be recorded.
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
    """Do the work on the stream of later recordings, as torch requires, so that the stream has its workspaces and memory."""
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


def record(work: Callable[[], object]) -> Callable[[], None]:
    """Record the kernels that the work launches, without running them, and return a function that runs them.

    Raises:
        RecordingError: the work cannot be recorded: for example, it waits for the GPU or draws random numbers on the CPU.
        torch.OutOfMemoryError: the GPU has too little memory for the recording.
    """
    torch.cuda.synchronize()  # so that errors of earlier work are not taken for errors of the recording
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
        # Ending a failed recording fails as well, with a less helpful error.
        cause = error.__context__ or error
        first_line = str(cause).partition("\n")[0]
        raise RecordingError(
            f"cuda_graphs=true: the loop cannot be recorded here ({first_line}); allowed: false"
        ) from error
    finally:
        torch.cuda.set_stream(before)  # torch does not restore the stream if a recording fails
    replay: Callable[[], None] = graph.replay
    return replay


@contextmanager
def without_draws_on_the_host() -> Iterator[None]:
    """Refuse a block that draws random numbers on the CPU, since every replay of a recording would use the same numbers.

    Random numbers on the GPU are drawn anew at each replay, from the current state of torch's generator.

    Raises:
        RecordingError: the block has drawn random numbers on the CPU.
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
    """Return the stream of all recordings of this process; one, since each stream has memory and workspaces of its own."""
    return torch.cuda.Stream()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Disable garbage collection in the block: freeing an older recording during a new one makes the new one fail."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
