"""Make images from a teacher alone.

``confident_images`` are images that the teacher is sure of, found by gradient descent on the pixels; ``paths`` lead from
such images to the teacher's other classes.
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
"""Learning rate of Adam, in normalised pixels: a step moves a pixel by up to a tenth of the data's standard deviation."""

_SMOOTHNESS = 1.0
"""Weight of the total variation relative to the cross-entropy: without this term images look like noise to other
networks."""

_STATISTICS = 1.0
"""Weight of the distance from BatchNorm's running statistics, for teachers with BatchNorm."""

_SHIFT = 2
"""Maximum random shift of the images in pixels, so that no class depends on the position of single pixels."""

_BATCH = 100
"""Number of images that are optimised together; BatchNorm's statistics are matched over such a batch."""

_CELLS = 8
"""Side of the grid of random numbers that the images start from."""


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
    """Make images that the teacher is sure of, equally many for each class.

    Adam minimises the cross-entropy with the wanted class, the total variation and, if the teacher has BatchNorm, the
    distance of each layer's input from its running statistics, as in DeepInversion (Yin et al., CVPR 2020). Pixels are
    clamped to the range of real pixels.

    Args:
        teacher: Network in eval mode; it is not changed.
        normalisation: Normalisation that the teacher expects.
        count: Number of images, a multiple of 100.
        channels: Channels of the images.
        num_classes: Number of classes, which are taken in turn.
        image_size: Height and width of the images.
        random: Random generator on the CPU, for starting points and shifts.

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
    """Return images of normal numbers on a coarse grid, interpolated to (count, channels, height, width).

    Each image has variance 1. The images are on the CPU.
    """
    coarse = torch.randn(count, channels, _CELLS, _CELLS, generator=random)
    images = F.interpolate(coarse, size=image_size, mode="bicubic")
    return images / images.std((1, 2, 3), keepdim=True)


def paths(
    teacher: Network, images: Tensor, targets: Tensor, *, steps: int, every: int, step_size: float = 1.0
) -> Tensor:
    """Return the images along paths on which images are pushed to other classes by the teacher's gradient, as in section 4.

    Args:
        teacher: Network in eval mode.
        images: Images at which the paths begin, (count, channels, height, width).
        targets: Class to which each image is pushed, int64 (count,).
        steps: Number of steps of a path.
        every: Interval of the steps whose images are kept.
        step_size: Factor of the gradient.

    Returns:
        Images (steps // every * count, channels, height, width), ordered by step.
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
    """Return the mean absolute difference of vertical neighbours plus that of horizontal neighbours, a scalar."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return down + (images[..., :, 1:] - images[..., :, :-1]).abs().mean()


def _range_of(normalisation: Normalisation, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the normalised values of a black and a white pixel, each (channels, 1, 1)."""
    mean, std = (
        torch.tensor(values, device=device).expand(channels).view(-1, 1, 1)
        for values in (normalisation.mean, normalisation.std)
    )
    return -mean / std, (1 - mean) / std
