"""CUDA graphs (``cuda_graphs``): the hundreds of kernels of a pseudo batch recorded once, and launched as one.

The host needs longer to launch the loop's small kernels than a GPU to run them; a recording is launched in one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.errors import RecordingError

_WARM_UPS = 3
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
        if self._replay is None and self._calls < _WARM_UPS:
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
    """Do the work on a stream of its own, as torch asks for before a recording."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Record the kernels that the work launches, without running them; the result runs them.

    Raises:
        RecordingError: the work waits for the GPU, or does what else cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        # Of this thread alone: another may be writing a checkpoint meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        raise RecordingError(
            f"cuda_graphs=true: the loop cannot be recorded here ({first_line}); allowed: false"
        ) from error
    replay: Callable[[], None] = graph.replay
    return replay
