"""The generator: latents to pseudo images (section 1.1)."""

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
    """A linear layer and three convolutions, with BatchNorm after each and two nearest-neighbour upsamplings.

    Its output is unbounded and already in the teacher's normalised pixel space: no tanh, no normalisation after it.
    The last BatchNorm has no activation, so that pseudo images start with mean 0 and variance 1 per channel, as
    normalised real images have. 1,051,145 parameters as published (``width`` 128, ``latent_dim`` 100, 3 channels).

    With ``output="sigmoid"`` a sigmoid stands in the place of the last BatchNorm, so that the output is pixels in [0, 1],
    yet to be normalised, as in other data-free methods.

    Two doublings make height and width multiples of 4. Images of another size are cut out of the next larger ones, before
    the last BatchNorm, whose statistics are those of what the networks see.
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
        """Compute upsampling and the convolution after it as one: equal up to rounding, with 4/9 of the work."""
        self.taps: Tensor
        # With the module, since making it at each call would wait for a GPU.
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
        """One forward pass in the block moves the BatchNorm statistics as ``times`` equal ones would.

        The published loop runs the generator once more in each student step. Its batch statistics are the same each
        time, and n updates with momentum m are one with 1 - (1 - m)^n.
        """
        layers = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            # Torch allows both to be None; these layers are made with its defaults.
            layer.momentum = 1 - (1 - cast(float, layer.momentum)) ** times
            cast(Tensor, layer.num_batches_tracked).add_(times - 1)
        try:
            yield
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

    def _cropped(self, images: Tensor) -> Tensor:
        """The middle of images that are up to three pixels too large."""
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
    """(4, 3): which of a 3-tap kernel's weights come together at each of 4 taps when its input was doubled."""
    return torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def upsampled_convolution(features: Tensor, weight: Tensor, bias: Tensor | None, taps: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2 and a 3x3 convolution with padding 1, as one transposed convolution.

    Each output pixel sees only 2x2 different inputs, so the 3x3 kernel's taps can be added up beforehand: a 4x4 kernel
    with stride 2 that does 4 multiplications where there were 9.

    Args:
        features: (batch, in, height, width).
        weight: (out, in, 3, 3).
        bias: (out,) or none.
        taps: ``upsampling_taps``, on the weight's device and of its type.

    Returns:
        (batch, out, 2 height, 2 width).
    """
    kernel = torch.einsum("ia,jb,ocab->coij", taps, taps, weight).contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(features, kernel, bias, stride=2, padding=1)
