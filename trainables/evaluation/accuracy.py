"""Top-1 accuracy on real images (section 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config.datasets import Normalisation
from trainables.images.splits import DatasetSplits, ImageSet, normalise
from trainables.networks import Network, in_eval_mode

_BATCH_SIZE = {"cpu": 64, "cuda": 2048}
"""Images per forward pass: small batches stay in a CPU's cache, a GPU wants large ones. The result is the same."""


def of_each_batch(
    network: Network, data: ImageSet, normalisation: Normalisation, found: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Ask something of a network's logits in eval mode (running statistics), batch by batch, without gradients.

    Args:
        network: Any network; on the same device as ``data``.
        data: At least one image.
        normalisation: What the network expects.
        found: Takes logits (batch, classes) and labels (batch,), returns (batch, ...).

    Returns:
        What was found of all images, (images, ...), on their device.

    Raises:
        ValueError: there is no image.
    """
    if len(data) == 0:
        raise ValueError("accuracy of no images; allowed: at least one")
    parameter = next(network.parameters())
    batch_size = _BATCH_SIZE.get(parameter.device.type, _BATCH_SIZE["cpu"])
    with in_eval_mode(network), torch.no_grad():
        return torch.cat(
            [
                found(network(normalise(images, normalisation, parameter.dtype))[0], labels)
                for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
            ]
        )


def right_images(network: Network, data: ImageSet, normalisation: Normalisation) -> Tensor:
    """Whether the highest logit of each image is its label, in eval mode (running statistics), on the images' device.

    Args:
        network: Any network; on the same device as ``data``.
        data: At least one image.
        normalisation: What the network expects.
    """
    return of_each_batch(network, data, normalisation, lambda logits, labels: logits.argmax(1) == labels)


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
