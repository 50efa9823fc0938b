"""Random crops with mirroring: the augmentation of published trainings, and the views of pseudo images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 4
"""Pixels of zero padding around an image, and how far a crop may lie from its middle (section 3.1)."""


def crop(images: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Return crops of the old size after zero padding by ``MARGIN``; gradients flow back to the images.

    Args:
        images: (batch, channels, height, width), of any type.
        top: Row of the padded image at which each crop begins, (batch,), in 0 to 2 ``MARGIN``, on the images' device.
        left: Its column, likewise.
        mirrored: Whether each is mirrored from left to right, (batch,) of bool.

    Returns:
        (batch, channels, height, width).
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
