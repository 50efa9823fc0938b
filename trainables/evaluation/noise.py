"""Predictions of a network on noise images (section 7, item 6): a trained network predicts a few classes most often."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Normalisation
from trainables.images.splits import normalise
from trainables.networks import Network, in_eval_mode
from trainables.seeding import stream

_BATCH_SIZE = 64
"""Images per forward pass; a thousand images are little work on any device, and the counts do not depend on it."""


def noise_predictions(
    network: Network,
    normalisation: Normalisation,
    *,
    channels: int,
    num_classes: int,
    image_size: ImageSize = IMAGE_SIZE,
    images: int = 1000,
    seed: int = 0,
) -> Tensor:
    """Count a network's predictions on noise images, whose pixels are drawn uniformly from 0 to 255.

    Args:
        network: Network to measure. It runs in eval mode, and its mode is restored.
        normalisation: Normalisation that the network expects.
        channels: Channels of the images.
        image_size: Height and width of the images.
        num_classes: Number of the network's classes.
        images: Number of images; 1000 as published.
        seed: Seed of the images, which are equal on every device.

    Returns:
        Number of images for which each class is predicted: int64 (num_classes,) on the CPU, with the sum ``images``.

    Raises:
        ValueError: an argument is below 1, or the network has another number of classes.
    """
    for name, value in (("channels", channels), ("num_classes", num_classes), ("images", images)):
        if value < 1:
            raise ValueError(f"{name}={value}; allowed: at least 1")
    parameter = next(network.parameters())
    pixels = torch.randint(
        256,
        (images, channels, *image_size),
        generator=stream(seed, "noise images"),
        dtype=torch.uint8,
    )
    counts = torch.zeros(num_classes, dtype=torch.int64)
    with in_eval_mode(network), torch.no_grad():
        for batch in pixels.split(_BATCH_SIZE):
            logits, _ = network(normalise(batch.to(parameter.device), normalisation, parameter.dtype))
            if logits.shape[1] != num_classes:
                raise ValueError(f"num_classes={num_classes}; allowed: {logits.shape[1]}, as in the network")
            counts += logits.argmax(1).cpu().bincount(minlength=num_classes)
    return counts
