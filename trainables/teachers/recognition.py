"""Which of this project's networks the weights in a file are, and what images they take."""

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
"""Of a WideResNet's last layer, for each unit of its width factor."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A network whose names and shapes are those of a file."""

    name: str
    shapes: Shapes
    """The image size is a guess where the weights fit any."""


def recognise(file: WeightFile) -> Recognised | None:
    """Find the network of this project that a file's weights fit; None if there is none, or several sets of them.

    Args:
        file: The file's tensors.
    """
    for name, shapes in _guesses(file.tensors):
        with seeded(0, "only looked at"):
            network = build_network(name, **shapes)
        try:
            find_weights(file, network, shown=name, subject=name)
        except TeacherError:  # it does not fit: the next one may
            continue
        return Recognised(name=name, shapes=shapes)
    return None


def shapes_of(tensors: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    """Guess how many classes and channels a classifier has, from its last matrix and the fewest inputs of a convolution."""
    matrices = [tensor.shape[0] for tensor in tensors.values() if tensor.ndim == 2]
    inputs = [tensor.shape[1] for tensor in tensors.values() if tensor.ndim == 4]
    return (matrices[-1] if matrices else None), (min(inputs) if inputs else None)


def _guesses(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Shapes]]:
    """Networks that the last matrix of a file may belong to, with the shapes that it tells."""
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
