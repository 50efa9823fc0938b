"""What the loop needs of a teacher or student."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """An image classifier that also shows the activations that attention transfer compares.

    ``forward`` takes normalised images (batch, channels, 32, 32) and returns logits (batch, classes) and a list of
    activations (batch, width_l, height_l, width_l), one for each attention layer, in order of depth.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError

    def __call__(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        result: tuple[Tensor, list[Tensor]] = super().__call__(images)
        return result
