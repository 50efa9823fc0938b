"""Views of normalised images: random crops after padding by 4, half of them mirrored, differentiable.

A view is given by three numbers for each image, so that a pool can keep views as numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import Normalisation
from trainables.images.crops import MARGIN, crop

PLAIN = (MARGIN, MARGIN, 0)
"""View that leaves the image unchanged."""


def draw_views(count: int, stream: torch.Generator) -> Tensor:
    """Draw views, (count, 3) whole numbers: top and left of the crop in 0 to 8, and 1 if the crop is mirrored, else 0."""
    corners = torch.randint(2 * MARGIN + 1, (count, 2), generator=stream)
    return torch.cat([corners, torch.randint(2, (count, 1), generator=stream)], 1)


def plain_views(count: int) -> Tensor:
    """Return ``count`` views that leave the images unchanged, (count, 3)."""
    return torch.tensor(PLAIN).expand(count, 3)


class Viewer:
    """Makes views of images that are normalised as the teacher expects; the padding around an image is black."""

    def __init__(
        self, normalisation: Normalisation, channels: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        mean, std = (
            torch.tensor(values, device=device, dtype=dtype).expand(channels)
            for values in (normalisation.mean, normalisation.std)
        )
        self.mean = mean.view(-1, 1, 1)
        """Mean of each channel, (channels, 1, 1)."""
        self.std = std.view(-1, 1, 1)
        """Standard deviation of each channel, (channels, 1, 1)."""

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return pixels in [0, 1], normalised as the teacher expects."""
        return (pixels - self.mean) / self.std

    def pixels(self, images: Tensor) -> Tensor:
        """Return the pixels of normalised images; in [0, 1] unless a generator without bounds made the images."""
        return images * self.std + self.mean

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        """Return (batch, channels, height, width), each image in its view.

        Args:
            images: Normalised images, (batch, channels, height, width).
            views: (batch, 3), see ``draw_views``.
        """
        top, left, mirrored = views.to(images.device).unbind(1)
        # Padding adds zeros, which are black in pixels only, not in normalised images.
        return self.normalised(crop(self.pixels(images), top, left, mirrored > 0))
