"""Training on labelled images: the published recipe of teachers (section 3.1).

SGD with momentum and weight decay, step decay, random crops and flips where the data set has them. The last epoch is
used; nothing is selected on the way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.config import SupervisedConfig
from trainables.data import DatasetSplits, normalise
from trainables.datasets import IMAGE_SIZE, NORMALISATIONS
from trainables.networks import Network, build_network
from trainables.schedules import step_decay
from trainables.seeding import seeded_initialisation, stream

_CROP_MARGIN = 4
"""Pixels of zero padding around an image before the random crop."""


def train_supervised(
    config: SupervisedConfig,
    *,
    network_name: str,
    splits: DatasetSplits,
    normalisation: str,
    device: torch.device | str = "cpu",
) -> Network:
    """Train a fresh network on ``splits.train`` and return it in eval mode."""
    with seeded_initialisation(config.seed, "supervised"):
        network = build_network(network_name, num_classes=splits.spec.num_classes, channels=splits.spec.channels)
    network = network.to(device).train()
    train = splits.train.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    order, augmentation = stream(config.seed, "order"), stream(config.seed, "augmentation")
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = step_decay(config.learning_rate, epoch, config.epochs)
        for batch in torch.randperm(len(train), generator=order).split(config.batch_size):
            indices = batch.to(device)
            images = train.images[indices]
            if splits.spec.augment:
                images = crop_and_flip(images, augmentation)
            logits, _ = network(normalise(images, NORMALISATIONS[normalisation]))
            loss = F.cross_entropy(logits, train.labels[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network.eval()


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random 32x32 crop after padding by 4, and a horizontal flip of half of the images.

    ``images`` are raw pixels (batch, channels, 32, 32), so that the padding is black, as in the published recipe.
    """
    batch = len(images)
    padded = F.pad(images, (_CROP_MARGIN,) * 4)
    top = torch.randint(2 * _CROP_MARGIN + 1, (batch,), generator=generator).to(images.device)
    left = torch.randint(2 * _CROP_MARGIN + 1, (batch,), generator=generator).to(images.device)
    flip = (torch.rand(batch, generator=generator) < 0.5).to(images.device)
    line = torch.arange(IMAGE_SIZE, device=images.device)
    rows = (top[:, None] + line)[:, None, :, None]
    columns = left[:, None] + torch.where(flip[:, None], line.flip(0), line)
    return padded[
        torch.arange(batch, device=images.device)[:, None, None, None],
        torch.arange(images.shape[1], device=images.device)[None, :, None, None],
        rows,
        columns[:, None, None, :],
    ]
