"""What a network takes noise for (section 7, item 6): a trained one prefers a few classes, not each as often."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import IMAGE_SIZE, ImageSize, Normalisation
from trainables.images.splits import normalise
from trainables.networks import Network, in_eval_mode
from trainables.seeding import stream

_BATCH_SIZE = 64
"""Images per forward pass; a thousand are little work on any device. The counts are the same."""


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
    """How often each class has the highest logit, on images whose pixels are each drawn from 0 to 255 alike.

    Args:
        network: Any network; it runs in eval mode, and its mode is put back.
        normalisation: What the network expects.
        channels: Channels of the images.
        image_size: Their height and width.
        num_classes: Length of the network's logits.
        images: 1000 as published.
        seed: Chooses the images; they are the same on every device.

    Returns:
        Counts int64 (num_classes,) on the CPU that add up to ``images``.

    Raises:
        ValueError: an argument below 1, or a network with another number of classes.
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
