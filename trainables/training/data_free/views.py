"""Views of normalised images: a random crop after padding by 4 and a mirror image of half of them, differentiable.

Which view is drawn is three numbers for each image, so that a pool can keep views as numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.datasets import Normalisation

MARGIN = 4
"""Pixels of padding at each side, and how far a crop may lie from the middle."""

PLAIN = (MARGIN, MARGIN, 0)
"""The view that is the image itself."""


def draw_views(count: int, stream: torch.Generator) -> Tensor:
    """Draw views: (count, 3) whole numbers, top and left of the crop in 0 to 8, and whether it is mirrored."""
    corners = torch.randint(2 * MARGIN + 1, (count, 2), generator=stream)
    return torch.cat([corners, torch.randint(2, (count, 1), generator=stream)], 1)


def plain_views(count: int) -> Tensor:
    """Return so many views that are the images themselves."""
    return torch.tensor(PLAIN).expand(count, 3)


class Viewer:
    """Makes views of images that are normalised as the teacher expects; what lies beside an image is black."""

    def __init__(
        self, normalisation: Normalisation, channels: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        mean, std = (
            torch.tensor(values, device=device, dtype=dtype).expand(channels)
            for values in (normalisation.mean, normalisation.std)
        )
        self.mean = mean.view(-1, 1, 1)
        """Of each channel, as (channels, 1, 1)."""
        self.std = std.view(-1, 1, 1)
        """Likewise."""

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return pixels in [0, 1] as the teacher expects them."""
        return (pixels - self.mean) / self.std

    def pixels(self, images: Tensor) -> Tensor:
        """Return normalised images as pixels, in [0, 1] if they have bounds."""
        return images * self.std + self.mean

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        """Return (batch, channels, height, width), each image in its view.

        Args:
            images: Normalised, of the same shape.
            views: (batch, 3), see ``draw_views``.
        """
        batch, _, height, width = images.shape
        views = views.to(images.device)
        # Black is a number of its own in each channel, and zero only before the mean is taken off.
        padded = F.pad(self.pixels(images), (MARGIN,) * 4)
        top, left, mirrored = views.unbind(1)
        down, along = (torch.arange(pixels, device=images.device) for pixels in (height, width))
        rows = (top[:, None] + down)[:, None, :, None]
        columns = left[:, None] + torch.where(mirrored[:, None] > 0, along.flip(0), along)
        each = torch.arange(batch, device=images.device)[:, None, None, None]
        channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
        return self.normalised(padded[each, channels, rows, columns[:, None, None, :]])
