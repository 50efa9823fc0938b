"""Top-1 accuracy on real images (section 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config.datasets import Normalisation
from trainables.images.splits import DatasetSplits, ImageSet, normalise
from trainables.networks import Network, in_eval_mode

_BATCH_SIZE = {"cpu": 64, "cuda": 2048}
"""Images per forward pass: small batches stay in a CPU's cache, a GPU wants large ones. The result is the same."""


def right_images(network: Network, data: ImageSet, normalisation: Normalisation) -> Tensor:
    """Whether the highest logit of each image is its label, in eval mode (running statistics), on the images' device.

    Args:
        network: Any network; on the same device as ``data``.
        data: At least one image.
        normalisation: What the network expects.
    """
    if len(data) == 0:
        raise ValueError("accuracy of no images; allowed: at least one")
    parameter = next(network.parameters())
    batch_size = _BATCH_SIZE.get(parameter.device.type, _BATCH_SIZE["cpu"])
    right = []
    with in_eval_mode(network), torch.no_grad():
        for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True):
            logits, _ = network(normalise(images, normalisation, parameter.dtype))
            right.append(logits.argmax(1) == labels)
    return torch.cat(right)


def accuracy(network: Network, data: ImageSet, normalisation: Normalisation) -> float:
    """Share of images, in [0, 1], whose highest logit is their label, in eval mode (running statistics).

    Args:
        network: Any network; on the same device as ``data``.
        data: At least one image.
        normalisation: What the network expects.
    """
    return int(right_images(network, data, normalisation).sum()) / len(data)


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Top-1 shares in [0, 1]; none where there is no image: where none was set aside, or none is read."""

    validation: float | None
    test: float | None


def measure(network: Network, splits: DatasetSplits, normalisation: Normalisation) -> Accuracies:
    """The network's accuracies on the validation part and on the test split."""
    return Accuracies(
        validation=accuracy(network, splits.validation, normalisation) if len(splits.validation) else None,
        test=accuracy(network, splits.test, normalisation) if len(splits.test) else None,
    )
