"""Descriptions of data sets: shapes, classes, normalisation. Imports no torch and reads no images.

The constants of CIFAR-10 and SVHN come from the published code, those of CIFAR-100 from the authors' few-shot repository.
The two MNISTs use the customary mean and standard deviation of their training sets, measured on 28x28 images before padding.
Other data sets are entry points of installed packages in the group ``zskt.datasets``, or ``FILE.py:NAME``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from trainables.config.plugins import Registry, installed
from trainables.errors import DatasetError
from trainables.system.own_files import content_of, file_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DATASETS = Registry(what="data set", group="zskt.datasets", own={})
"""Data sets from modules, packages and files, each a ``DatasetSpec`` with ``read``. torchvision's data sets and the digits
are listed below."""

_EXPECTED = "FOLDER, FILE.zip, FILE.tar or FILE.parquet with images of your own, or none"


if TYPE_CHECKING:
    Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
    """Images as they are read, (count, h, w), (count, h, w, 3) or (count, 3, h, w), and labels (count,)."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Normalisation of pixels: ``(pixel / 255 - mean) / std`` for each channel; a single value holds for all channels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


ImageSize = tuple[int, int]
"""Height and width of images, in pixels."""

IMAGE_SIZE: ImageSize = (32, 32)
"""Image size of the named data sets unless a config sets another; the 28x28 sets are padded with their background (0)."""


class Shapes(TypedDict):
    """Shapes of a network's input and output: the arguments of ``build_network`` other than the name."""

    num_classes: int
    channels: int
    image_size: ImageSize


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Description of a data set as networks see it: ``channels`` x height x width pixels, labels 0 to ``num_classes - 1``.

    ``image_size`` includes a margin of ``padding`` pixels of background (0) on each side, as is customary for the 28x28
    sets; images that are resized have no margin. ``training_images`` is the size of the official training split, from which
    the number of epochs of few-shot training follows; ``test_images`` is the size of the test split. ``augment`` says
    whether the teacher recipe crops and flips the images (section 3.1: CIFAR yes, SVHN no; digits are not the same
    mirrored).

    ``read`` is for data sets from modules, packages and files: it takes the data root and returns the training and the test
    split, each as uint8 images (count, h, w), (count, 3, h, w) or (count, h, w, 3) of ``image_size`` and labels (count,).
    None means that the images are not available: teachers then come from files, and trials are not audited.
    """

    channels: int
    num_classes: int
    training_images: int
    test_images: int
    normalisation: Normalisation
    image_size: ImageSize = IMAGE_SIZE
    padding: int = 0
    augment: bool = False
    read: Callable[[Path], tuple[Split, Split]] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (self.channels, *self.image_size)

    @property
    def shapes(self) -> Shapes:
        """Shapes of networks for this data set."""
        return Shapes(num_classes=self.num_classes, channels=self.channels, image_size=self.image_size)


_MNIST = Normalisation(mean=(0.1307,), std=(0.3081,))
_SPECS: dict[str, DatasetSpec] = {
    "cifar10": DatasetSpec(
        channels=3,
        num_classes=10,
        augment=True,
        training_images=50_000,
        test_images=10_000,
        normalisation=Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    ),
    "cifar100": DatasetSpec(
        channels=3,
        num_classes=100,
        augment=True,
        training_images=50_000,
        test_images=10_000,
        normalisation=Normalisation(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    ),
    "svhn": DatasetSpec(
        channels=3,
        num_classes=10,
        training_images=73_257,
        test_images=26_032,
        normalisation=Normalisation(mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
    ),
    "mnist": DatasetSpec(
        channels=1, num_classes=10, training_images=60_000, test_images=10_000, normalisation=_MNIST, padding=2
    ),
    "fashion_mnist": DatasetSpec(
        channels=1,
        num_classes=10,
        training_images=60_000,
        test_images=10_000,
        normalisation=Normalisation(mean=(0.2860,), std=(0.3530,)),
        padding=2,
    ),
    "digits": DatasetSpec(
        channels=1, num_classes=10, training_images=4_000, test_images=1_000, normalisation=_MNIST, padding=2
    ),
}
_OTHER_NORMALISATIONS: dict[str, Normalisation] = {
    "half": Normalisation(mean=(0.5,), std=(0.5,)),
    "unit": Normalisation(mean=(0.0,), std=(1.0,)),
    "imagenet": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}


def dataset_names() -> tuple[str, ...]:
    """Return the names of this project's data sets and of those from installed packages."""
    named = (*_SPECS, *DATASETS.own)
    return (*named, *sorted(set(installed(DATASETS.group)) - set(named)))


def normalisation_names() -> tuple[str, ...]:
    """Return the names of all normalisations: those of data sets, then those that belong to no data set."""
    return (*dataset_names(), *_OTHER_NORMALISATIONS)


def is_own(name: str) -> bool:
    """Return whether the data set comes from a module, another package or a file."""
    return name not in _SPECS


def find_spec(name: str) -> DatasetSpec:
    """Return the description of a data set.

    Raises:
        ValueError: the name is unknown; the message lists the known names.
        DatasetError: the package or file of the data set fails, or does not contain a valid ``DatasetSpec``.
    """
    return _SPECS.get(name) or _own_spec(name, content_of(name))


def named_shapes(name: str) -> Shapes | None:
    """Return the shapes of networks for a named data set; None for the user's own images, whatever their name."""
    return find_spec(name).shapes if name in dataset_names() else None


def find_normalisation(name: str) -> Normalisation:
    """Return a data set's own normalisation, ``half`` (pixels in [-1, 1]), ``unit`` ([0, 1]), ``imagenet``, or ``MEAN:STD``.

    Raises:
        ValueError, DatasetError: see ``find_spec``; also ValueError for an invalid ``MEAN:STD``.
    """
    return _OTHER_NORMALISATIONS.get(name) or _normalisation_of(name) or find_spec(name).normalisation


def normalisation_in_words(mean: Sequence[float], std: Sequence[float]) -> str:
    """Return mean and standard deviation of each channel as a config has them: ``0.49,0.48,0.45:0.2,0.2,0.2``."""
    return ":".join(",".join(f"{value:g}" for value in values) for values in (mean, std))


def _normalisation_of(text: str) -> Normalisation | None:
    """Return the normalisation given in numbers as MEAN:STD; None if the text is a name.

    Raises:
        ValueError: the two lists differ in length, a number is not finite, or a standard deviation is not above 0.
    """
    parts = text.split(":")
    try:
        mean, std = (tuple(float(value) for value in part.split(",")) for part in parts)
    except ValueError:
        return None
    if len(mean) != len(std) or not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
        raise ValueError(
            f"normalisation {text!r}: expected MEAN:STD, with equally many finite numbers for both, STD above 0"
        )
    return Normalisation(mean=mean, std=std)


SMALLEST_SIDE = 16
LARGEST_SIDE = 224
"""Smallest and largest side of images, in pixels. Smaller images would vanish in the networks' last layers."""


def image_size_in_words(size: ImageSize) -> str:
    """Return height and width as a config has them: ``48x40``."""
    return "x".join(map(str, size))


def parse_image_size(text: str) -> ImageSize:
    """Parse an image size, ``48x40`` or ``28`` (short for ``28x28``), into height and width in pixels.

    Raises:
        ValueError: the text has another form, or a side is not within 16 to 224.
    """
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise ValueError(f"image size {text!r}; allowed: a side such as 28, or HEIGHTxWIDTH such as 48x40")
    height, width = int(sides[0]), int(sides[-1])
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise ValueError(f"image size {text!r}; allowed: sides from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return height, width


def check_normalisation_name(name: str) -> str:
    """Return the name unchanged if it is that of a normalisation.

    Raises:
        ValueError: no normalisation has that name; the message lists the known names.
    """
    if file_of(name):
        find_spec(name)
    elif name not in _OTHER_NORMALISATIONS and _normalisation_of(name) is None and name not in dataset_names():
        known = ", ".join(normalisation_names())
        raise ValueError(
            f"unknown normalisation {name!r}; known: {known}, or MEAN:STD such as 0.49,0.48,0.45:0.2,0.2,0.2"
        )
    return name


@cache  # looking through all installed packages takes milliseconds
def _own_spec(name: str, content: str) -> DatasetSpec:
    """Return the checked spec from a module, a package or a file.

    Args:
        name: The data set's name.
        content: Result of ``content_of(name)``, so that a changed file is not served from the cache.

    Raises:
        ValueError, DatasetError: see ``find_spec``.
    """
    others = installed(DATASETS.group)
    if name not in others and name not in DATASETS.own and not file_of(name):
        ours = ", ".join((*_SPECS, *DATASETS.own))
        raise ValueError(
            f"unknown data set {name!r}; known: {ours}, FILE.py:NAME, {_EXPECTED}, or FOLDER/NAME.parquet of a named "
            f"one; from installed packages: {', '.join(sorted(others)) or 'none'}"
        )
    what = f"data set {DATASETS.origin(name)}"
    DATASETS.check(name)
    try:
        spec = DATASETS.load(name)
    except Exception as error:  # code of others may raise anything
        raise DatasetError(f"{what} cannot be loaded: {error!r}") from error
    if not isinstance(spec, DatasetSpec):
        raise DatasetError(f"{what} is a {type(spec).__name__}; it must be a trainables.config.datasets.DatasetSpec")
    size: object = spec.image_size
    if not isinstance(size, tuple) or len(size) != 2 or not all(type(side) is int for side in size):
        raise DatasetError(f"{what} has image_size={size!r}; it must be a tuple of height and width, two ints")
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise DatasetError(
            f"{what} has image_size={size}; allowed: sides from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        )
    if spec.channels not in {1, 3} or spec.num_classes < 2 or min(spec.training_images, spec.test_images) < 1:
        raise DatasetError(f"{what} must have 1 or 3 channels, at least 2 classes, and images in both splits: {spec}")
    moments = spec.normalisation
    if {len(moments.mean), len(moments.std)} - {1, spec.channels} or min(moments.std) <= 0:
        raise DatasetError(f"{what}: mean and std must have 1 or {spec.channels} values, and std be above 0: {moments}")
    return spec
