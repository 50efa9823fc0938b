"""A stand-in for CUDA graphs that needs no GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.errors import RecordingError

_WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
"""Operations whose result Python needs: a GPU would have to be waited for."""

_COPIES_IN = {torch.ops.aten.lift_fresh.default}
"""What ``torch.tensor`` ends in: a copy from memory that a graph does not own."""


class _Call(NamedTuple):
    operation: Any
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    result: Any


class Tape(TorchDispatchMode):
    """The operations that a function did, with the very tensors that it did them on, to be done again without Python.

    As with a graph, whatever was a Python number stays what it was, tensors that were replaced since are not seen, and a
    function that waits for the device is refused. Unlike a graph it must run to be recorded, so the first replay, which
    would be that run, does nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.replays = 0
        self._calls: list[_Call] = []

    @classmethod
    def of(cls, work: Callable[[], object]) -> Tape:
        """Record what the work does.

        Raises:
            RecordingError: a graph could not hold it.
        """
        tape = cls()
        with tape:
            work()
        return tape

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _WAITS:
            raise RecordingError(f"waits for the device: {func}")
        if func in _COPIES_IN:
            raise RecordingError(f"made from Python numbers: {func}")
        result = func(*args, **(kwargs or {}))
        self._calls.append(_Call(func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Do it again, into the same memory."""
        self.replays += 1
        if self.replays == 1:
            return
        with torch.no_grad():
            for operation, arguments, named, result in self._calls:
                again = operation(*arguments, **named)
                for before, now in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(before, torch.Tensor) and before.data_ptr() != now.data_ptr():
                        before.copy_(now)
