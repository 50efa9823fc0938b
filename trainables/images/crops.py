"""Crops with mirroring, for the augmentation of published trainings and for the views of pseudo images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 4
"""Width of the zero padding around an image, and maximum offset of a crop from the middle, in pixels (section 3.1)."""


def crop(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Return crops of the images' own size after zero padding by ``MARGIN``; gradients flow back to the images.

    Args:
        images: Images (batch, channels, height, width), of any type.
        top: First row of each crop in the padded image, (batch,), in 0 to 2 ``MARGIN``, on the images' device.
        left: First column of each crop in the padded image, of the same form as ``top``.
        mirrored: Whether each crop is mirrored from left to right, bool (batch,).

    Returns:
        Crops (batch, channels, height, width).
    """
    padded = F.pad(images, (MARGIN,) * 4)
    device = images.device
    down, along = (torch.arange(pixels, device=device) for pixels in images.shape[2:])
    rows = (top[:, None] + down)[:, None, :, None]
    columns = left[:, None] + torch.where(mirrored[:, None], along.flip(0), along)
    return padded[
        torch.arange(len(images), device=device)[:, None, None, None],
        torch.arange(images.shape[1], device=device)[None, :, None, None],
        rows,
        columns[:, None, None, :],
    ]
