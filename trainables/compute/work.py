"""Count of the work of networks, which is the same on every machine, and its conversion into seconds.

To count, a network runs once on torch's meta device, where tensors have shapes but no values. ``Rate`` converts counted work
into seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Shapes
from trainables.networks import build_network
from trainables.networks.generator import Generator
from trainables.seeding import seeded
from trainables.system.own_files import content_of

_CALL_SECONDS = 1e-5
"""Overhead of one operation of PyTorch called from Python: about 10 microseconds."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Amount of computation. Amounts can be added and multiplied by a number."""

    flops: float = 0
    """FLOPs of convolutions and matrix products; a multiplication and an addition are two FLOPs."""

    bytes: float = 0
    """Bytes that all operations write in float32, including element-wise ones: approximates the memory traffic."""

    calls: float = 0
    """Number of calls of torch operations."""

    def __add__(self, other: Work) -> Work:
        return Work(flops=self.flops + other.flops, bytes=self.bytes + other.bytes, calls=self.calls + other.calls)

    def __rmul__(self, times: float) -> Work:
        return Work(flops=times * self.flops, bytes=times * self.bytes, calls=times * self.calls)

    def of_batch(self, images: float) -> Work:
        """Return the work for a batch of images, if this is the work for one image; the number of calls stays the same."""
        return Work(flops=images * self.flops, bytes=images * self.bytes, calls=self.calls)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Approximate speed of a GPU or of a number of CPU cores."""

    flops: float
    """FLOPs per second."""

    bytes: float
    """Bytes per second."""

    def seconds(self, work: Work) -> float:
        """Return the seconds of the work: computing, writing to memory, and the overhead of calls."""
        return work.flops / self.flops + work.bytes / self.bytes + work.calls * _CALL_SECONDS

    def times(self, factor: float) -> Rate:
        """Return the speed of ``factor`` such devices together."""
        return Rate(flops=factor * self.flops, bytes=factor * self.bytes)


def network_work(name: str, *, num_classes: int, channels: int, image_size: ImageSize = IMAGE_SIZE) -> Work:
    """Return the work of a network's forward pass on one image.

    Raises:
        NetworkError: a network from outside this project cannot be built.
    """
    return _network_work(name, content_of(name), num_classes=num_classes, channels=channels, image_size=image_size)


@cache
def _network_work(name: str, content: str, *, num_classes: int, channels: int, image_size: ImageSize) -> Work:
    shapes = Shapes(num_classes=num_classes, channels=channels, image_size=image_size)
    try:
        with torch.device("meta"):
            return _counted(build_network(name, **shapes), torch.empty(1, channels, *image_size))
    except Exception:  # code from outside this project may raise anything
        # Networks from outside this project may read values of weights or images, which the meta device does not have.
        with seeded(0, "only counted"):
            return _counted(build_network(name, **shapes), torch.zeros(1, channels, *image_size))


@cache
def generator_work(*, latent_dim: int, width: int, channels: int, image_size: ImageSize = IMAGE_SIZE) -> Work:
    """Return the work of the generator's forward pass for one image."""
    with torch.device("meta"):
        network = Generator(latent_dim=latent_dim, width=width, channels=channels, image_size=image_size)
        return _counted(network, torch.empty(1, latent_dim))


def _counted(network: nn.Module, example: Tensor) -> Work:
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Writing() as writing:
        network.eval()(example)
    return Work(flops=int(counter.get_total_flops()), bytes=writing.bytes, calls=writing.calls)


class _Writing(TorchDispatchMode):
    """Counts the operations that write to memory, and the bytes that they write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.bytes = self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        first = func._schema.returns[0].alias_info if func._schema.returns else None
        if first is None or first.is_write:  # otherwise the result is a view, which writes nothing
            self.calls += 1
            outputs = result if isinstance(result, tuple | list) else (result,)
            self.bytes += sum(t.numel() * t.element_size() for t in outputs if isinstance(t, Tensor))
        return result
