"""Views of normalised images: a random crop after padding by 4 and a mirror image of half of them, differentiable.

Which view is drawn is three numbers for each image, so that a pool can keep views as numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import Normalisation
from trainables.images.crops import MARGIN, crop

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
        top, left, mirrored = views.to(images.device).unbind(1)
        # Black is a number of its own in each channel, and zero only before the mean is taken off.
        return self.normalised(crop(self.pixels(images), top, left, mirrored > 0))
