"""Labelled image files, wherever they lie: the one form in which folders, archives and tables hand them on."""

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
"""What people call splits, in small letters, and what this project calls them."""


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image that has not been decoded yet."""

    where: str
    """The image's path within its folder or archive, or its row."""

    split: str | None
    """``train``, ``validation`` or ``test``; none where nothing is said of splits."""

    label: int | str
    """Number of its class, or the class's name."""

    read: Callable[[], bytes | npt.NDArray[np.uint8]]
    """Returns the image as a file of any kind, or as pixels: (height, width) or (height, width, channels)."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images that belong together."""

    images: list[LabelledImage]
    classes: tuple[str, ...] | None = None
    """Names of the classes in their order, where they are known; labels are then numbers, or these names."""

    notes: tuple[str, ...] = ()
    """What the user should know of how they were found, a line each."""
