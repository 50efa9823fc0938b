"""The generator, which maps latents to pseudo images (section 1.1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config.datasets import IMAGE_SIZE, ImageSize


class Generator(nn.Module):
    """Generator: a linear layer and three convolutions, each followed by BatchNorm, and two nearest-neighbour upsamplings.

    The output is unbounded and already in the teacher's normalised pixel space: no tanh or normalisation follows. The last
    BatchNorm has no activation, so that pseudo images start with mean 0 and variance 1 per channel, like normalised real
    images. 1,051,145 parameters as published (``width`` 128, ``latent_dim`` 100, 3 channels).

    With ``output="sigmoid"`` a sigmoid replaces the last BatchNorm, as in other data-free methods: the output is then pixels
    in [0, 1], which have yet to be normalised.

    Two doublings make height and width multiples of 4. For other sizes the next larger images are cropped, before the last
    BatchNorm, so that its statistics are those of the images that the networks see.
    """

    def __init__(
        self,
        *,
        latent_dim: int = 100,
        width: int = 128,
        channels: int = 3,
        image_size: ImageSize = IMAGE_SIZE,
        output: Literal["batch_norm", "sigmoid"] = "batch_norm",
    ) -> None:
        super().__init__()
        self.fused_upsampling = False
        """Whether upsampling and the following convolution are computed as one: equal up to rounding, with 4/9 of the
        work."""
        self.taps: Tensor
        # A buffer, since creating the tensor in each call would make the program wait for the GPU.
        self.register_buffer("taps", upsampling_taps(), persistent=False)
        self.image_size = image_size
        self.start = tuple(math.ceil(pixels / 4) for pixels in image_size)
        """Height and width before the two doublings."""
        self.width = width
        self.linear = nn.Linear(latent_dim, width * math.prod(self.start))
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, channels, 3, padding=1)
        self.bn4 = nn.BatchNorm2d(channels) if output == "batch_norm" else nn.Sigmoid()

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (batch, latent_dim), standard normal, to pseudo images (batch, channels, height, width)."""
        features = self.linear(latents).view(-1, self.width, *self.start)
        features = self.bn1(features)  # no activation here, as published
        features = F.leaky_relu(self.bn2(self._upsampled(features, self.conv1)), 0.2, inplace=True)
        features = F.leaky_relu(self.bn3(self._upsampled(features, self.conv2)), 0.2, inplace=True)
        images: Tensor = self.bn4(self._cropped(self.conv3(features)))
        return images

    @contextmanager
    def counted_as(self, times: int) -> Iterator[None]:
        """Let one forward pass in the block update the BatchNorm statistics as much as ``times`` equal passes would.

        The published loop runs the generator once more in each student step. The batch statistics are the same each time,
        and n updates with momentum m equal one update with momentum 1 - (1 - m)^n.
        """
        layers = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            # torch's types allow None for both; layers with torch's defaults have values.
            layer.momentum = 1 - (1 - cast(float, layer.momentum)) ** times
            cast(Tensor, layer.num_batches_tracked).add_(times - 1)
        try:
            yield
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

    def _cropped(self, images: Tensor) -> Tensor:
        """Return the middle of images that are up to three pixels too large on each axis."""
        height, width = self.image_size
        if images.shape[2:] == self.image_size:
            return images
        top, left = ((4 * start - pixels) // 2 for start, pixels in zip(self.start, self.image_size, strict=True))
        return images[..., top : top + height, left : left + width]

    def _upsampled(self, features: Tensor, conv: nn.Conv2d) -> Tensor:
        if self.fused_upsampling:
            return upsampled_convolution(features, conv.weight, conv.bias, self.taps)
        result: Tensor = conv(F.interpolate(features, scale_factor=2.0))
        return result


def upsampling_taps() -> Tensor:
    """Return the matrix (4, 3) that maps a 3-tap kernel for doubled inputs to a 4-tap kernel for the inputs themselves.

    Entry (i, j) says whether weight j of the 3-tap kernel contributes to tap i of the transposed convolution.
    """
    return torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def upsampled_convolution(features: Tensor, weight: Tensor, bias: Tensor | None, taps: Tensor) -> Tensor:
    """Compute nearest-neighbour upsampling by 2 and a 3x3 convolution with padding 1 as one transposed convolution.

    Each output pixel depends on only 2x2 different inputs, so the taps of the 3x3 kernel can be added up beforehand. The
    result is a 4x4 kernel with stride 2 that takes 4 multiplications instead of 9.

    Args:
        features: Inputs (batch, in, height, width).
        weight: Kernel of the convolution (out, in, 3, 3).
        bias: Bias (out,) or None.
        taps: ``upsampling_taps()``, on the weight's device and of its type.

    Returns:
        (batch, out, 2 height, 2 width).
    """
    kernel = torch.einsum("ia,jb,ocab->coij", taps, taps, weight).contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(features, kernel, bias, stride=2, padding=1)
