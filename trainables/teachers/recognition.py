"""Recognise which of this project's networks a file of weights belongs to, and what images the network takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Shapes
from trainables.errors import TeacherError
from trainables.networks import build_network
from trainables.seeding import seeded
from trainables.teachers.weight_files import WeightFile
from trainables.teachers.weight_layouts import find_weights

_DEPTHS = (10, 16, 22, 28, 34, 40)
_FEATURES_OF_WIDTH = 64
"""Number of inputs of a WideResNet's last layer per unit of the width factor."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """Network that fits the names and shapes of a file's weights."""

    name: str
    shapes: Shapes
    """Shapes of the network. The image size is a guess if the weights fit any size."""


def recognise(file: WeightFile) -> Recognised | None:
    """Find the network of this project that a file's weights fit.

    Args:
        file: Contents of the file.

    Returns:
        The network; None if no network fits, or the file has several different sets of weights that fit.
    """
    for name, shapes in _guesses(file.tensors):
        with seeded(0, "only looked at"):
            network = build_network(name, **shapes)
        try:
            find_weights(file, network, shown=name, subject=name)
        except TeacherError:  # does not fit; the next one may
            continue
        return Recognised(name=name, shapes=shapes)
    return None


def shapes_of(tensors: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    """Guess the numbers of classes and channels of a classifier; None for a number that its tensors do not show.

    The last matrix gives the classes, the convolution with the fewest input channels gives the channels.
    """
    matrices = [tensor.shape[0] for tensor in tensors.values() if tensor.ndim == 2]
    inputs = [tensor.shape[1] for tensor in tensors.values() if tensor.ndim == 4]
    return (matrices[-1] if matrices else None), (min(inputs) if inputs else None)


def _guesses(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Shapes]]:
    """Yield the networks that a file's weights may fit, with their shapes, guessed from the file's matrices."""
    classes, channels = shapes_of(tensors)
    if not classes or not channels or classes < 2 or channels > 4:
        return
    features = [tensor.shape[1] for tensor in tensors.values() if tensor.ndim == 2]

    def shapes(size: ImageSize = IMAGE_SIZE) -> Shapes:
        return Shapes(num_classes=classes, channels=channels, image_size=size)

    side = math.isqrt(features[0] // 16)
    if side**2 * 16 == features[0]:  # two convolutions and poolings lose 12 pixels and divide by 4
        yield from ((name, shapes((4 * side + 12, 4 * side + 12))) for name in ("lenet", "lenet-bn"))
    yield from ((name, shapes()) for name in ("resnet-18", "resnet-34"))
    width = features[-1] // _FEATURES_OF_WIDTH
    if width:
        yield from ((f"wrn-{depth}-{width}", shapes()) for depth in _DEPTHS)
