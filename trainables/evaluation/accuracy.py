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
"""Images per forward pass: small batches stay in a CPU's cache, a GPU is fastest with large ones. Accuracies are equal."""


def of_each_batch(
    network: Network, data: ImageSet, normalisation: Normalisation, found: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Apply a function to a network's logits in eval mode (running statistics), batch by batch, without gradients.

    Args:
        network: Network on the same device as ``data``.
        data: At least one image.
        normalisation: Normalisation that the network expects.
        found: Function of logits (batch, classes) and labels (batch,) that returns (batch, ...).

    Returns:
        The function's results for all images, (images, ...), on the images' device.

    Raises:
        ValueError: ``data`` has no images.
    """
    if len(data) == 0:
        raise ValueError("no images to evaluate a network on; allowed: at least one")
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
    """Return whether each image is classified correctly, (images,) of bool, in eval mode (running statistics).

    Args:
        network: Network on the same device as ``data``.
        data: At least one image.
        normalisation: Normalisation that the network expects.
    """
    return of_each_batch(network, data, normalisation, lambda logits, labels: logits.argmax(1) == labels)


def accuracy(network: Network, data: ImageSet, normalisation: Normalisation) -> float:
    """Return the top-1 accuracy, in [0, 1], in eval mode (running statistics).

    Args:
        network: Network on the same device as ``data``.
        data: At least one image.
        normalisation: Normalisation that the network expects.
    """
    return int(right_images(network, data, normalisation).sum()) / len(data)


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Top-1 accuracies in [0, 1]. None if the part has no images: no validation part, or a trial that reads no images."""

    validation: float | None
    test: float | None


def measure(network: Network, splits: DatasetSplits, normalisation: Normalisation) -> Accuracies:
    """Measure a network's accuracies on the validation part and on the test split."""
    return Accuracies(
        validation=accuracy(network, splits.validation, normalisation) if len(splits.validation) else None,
        test=accuracy(network, splits.test, normalisation) if len(splits.test) else None,
    )
