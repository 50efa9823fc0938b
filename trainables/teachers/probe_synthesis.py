"""Images from a teacher alone: those it is sure of, found by gradient descent on the pixels, and the ways from there to
its other classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config.datasets import ImageSize, Normalisation
from trainables.evaluation import BatchNormDistance
from trainables.networks import Network

_STEPS = 60
_RATE = 0.1
"""Of Adam, in normalised pixels: a step moves a pixel by up to a tenth of the data's standard deviation."""

_SMOOTHNESS = 1.0
"""Weight of the total variation beside the cross-entropy: without it images are noise to all but the teacher."""

_STATISTICS = 1.0
"""Weight of the distance from BatchNorm's statistics, for teachers that have some."""

_SHIFT = 2
"""Pixels by which the images are moved about, so that no class hangs on the place of a pixel."""

_BATCH = 100
"""Images that are optimised together; BatchNorm's statistics are matched over them."""

_CELLS = 8
"""Side of the grid of random numbers that images start from."""


def confident_images(
    teacher: Network,
    normalisation: Normalisation,
    *,
    count: int,
    channels: int,
    num_classes: int,
    image_size: ImageSize,
    random: torch.Generator,
) -> Tensor:
    """Images that the teacher takes for each class equally often, and surely.

    Adam lowers cross-entropy with the wanted class, total variation and, where the teacher has BatchNorm, the distance of
    each layer's input from its running statistics, as in DeepInversion (Yin et al., CVPR 2020). Pixels stay in the range
    that real ones have.

    Args:
        teacher: In eval mode; it is not changed.
        normalisation: What it expects.
        count: How many, a multiple of 100.
        channels: Of the images.
        num_classes: Classes that are taken in turn.
        image_size: Height and width of the images.
        random: Where they start from, and how they are moved about; on the CPU.

    Returns:
        Normalised images (count, channels, height, width) on the teacher's device, classes in turn.
    """
    device = next(teacher.parameters()).device
    darkest, brightest = _range_of(normalisation, channels, device)
    made = []
    for start in range(0, count, _BATCH):
        wanted = (torch.arange(_BATCH, device=device) + start) % num_classes
        pixels = smooth_noise(_BATCH, channels, image_size=image_size, random=random).to(device).requires_grad_()
        optimizer = torch.optim.Adam([pixels], lr=_RATE)
        with BatchNormDistance(teacher) as statistics:
            for _ in range(_STEPS):
                down, right = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=random).tolist()
                logits, _ = teacher(pixels.roll((down, right), (2, 3)))
                loss = F.cross_entropy(logits, wanted) + _SMOOTHNESS * _total_variation(pixels)
                distance = statistics.take()
                if distance is not None:
                    loss = loss + _STATISTICS * distance
                (pixels.grad,) = torch.autograd.grad(loss, pixels)
                optimizer.step()
                with torch.no_grad():
                    pixels.clamp_(darkest, brightest)
        made.append(pixels.detach())
    return torch.cat(made)


def smooth_noise(count: int, channels: int, *, image_size: ImageSize, random: torch.Generator) -> Tensor:
    """Normal numbers on a coarse grid, interpolated: (count, channels, height, width), each of variance 1, on the CPU."""
    coarse = torch.randn(count, channels, _CELLS, _CELLS, generator=random)
    images = F.interpolate(coarse, size=image_size, mode="bicubic")
    return images / images.std((1, 2, 3), keepdim=True)


def paths(
    teacher: Network, images: Tensor, targets: Tensor, *, steps: int, every: int, step_size: float = 1.0
) -> Tensor:
    """Where images come by when they are pushed to other classes down the teacher's gradient, as in section 4.

    Args:
        teacher: In eval mode.
        images: Where the paths begin, (count, channels, height, width).
        targets: Class that each is pushed to, int64 (count,).
        steps: Length of a path.
        every: Each so many-th step is kept.
        step_size: Factor of the gradient.

    Returns:
        (steps // every * count, channels, height, width), all images of one moment together.
    """
    kept = []
    for step in range(1, steps + 1):
        moved = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(teacher(moved)[0], targets, reduction="sum"), moved)
        images = images - step_size * gradient
        if step % every == 0:
            kept.append(images)
    return torch.cat(kept)


def _total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down and across added; a scalar."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return down + (images[..., :, 1:] - images[..., :, :-1]).abs().mean()


def _range_of(normalisation: Normalisation, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a black and a white pixel are to the network, each (channels, 1, 1)."""
    mean, std = (
        torch.tensor(values, device=device).expand(channels).view(-1, 1, 1)
        for values in (normalisation.mean, normalisation.std)
    )
    return -mean / std, (1 - mean) / std
