"""Labelled images that are not decoded yet: the common result of reading folders, archives and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""This project's names of splits, by the common names in lower case."""


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """Image with its label and split, not decoded yet."""

    where: str
    """Path of the image within its folder or archive, or its row in a table."""

    split: str | None
    """Split of the image: ``train``, ``validation`` or ``test``. None if the data set names no splits."""

    label: int | str
    """Number or name of the image's class."""

    read: Callable[[], bytes | npt.NDArray[np.uint8]]
    """Function that returns the content of an image file, or pixels (height, width) or (height, width, channels)."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """All images of a data set, with the names of the classes."""

    images: list[LabelledImage]
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their numbers; labels are then numbers, or these names. None if unknown."""

    notes: tuple[str, ...] = ()
    """Notes to the user on how the images were found, one line each."""
