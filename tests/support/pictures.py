"""Folders and archives of small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (20, 16)
"""Height and width."""


def picture(label: int, number: int, *, mode: str = "L", size: tuple[int, int] = SIZE) -> Image.Image:
    """An image of noise about a shade that tells its class."""
    random = np.random.Generator(np.random.PCG64(100 * label + number))
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = random.integers(60 * label, 60 * label + 40, (*size, bands), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if bands == 1 else pixels, mode)


def folder_of(
    root: Path,
    *,
    splits: tuple[str, ...] = ("",),
    classes: tuple[str, ...] = ("cat", "dog", "eel"),
    each: int = 5,
    **more: Any,
) -> Path:
    """A folder with images of each class, in each split."""
    for split in splits:
        for label, name in enumerate(classes):
            place = root / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(each):
                picture(label, number, **more).save(place / f"{number:02}.png")
    return root
