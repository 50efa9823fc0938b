"""How far a network's confidence is from its accuracy."""

from __future__ import annotations

import torch

from trainables.config.datasets import Normalisation
from trainables.images.splits import ImageSet, normalise
from trainables.networks import Network, in_eval_mode

_BATCH_SIZE = 64
BINS = 15
"""Equally wide intervals of confidence, as in Guo et al., ICML 2017."""


def calibration_error(network: Network, data: ImageSet, normalisation: Normalisation) -> float:
    """Return the expected calibration error, in [0, 1].

    Images are sorted into intervals by the network's highest probability; it is the mean over them of the absolute
    difference between that and the share that is right, weighted by their numbers of images (Guo et al., ICML 2017).

    Args:
        network: Any network; on the same device as ``data``.
        data: At least one image.
        normalisation: What the network expects.
    """
    parameter = next(network.parameters())
    confidence, right = [], []
    with in_eval_mode(network), torch.no_grad():
        for images, labels in zip(data.images.split(_BATCH_SIZE), data.labels.split(_BATCH_SIZE), strict=True):
            highest, classes = network(normalise(images, normalisation, parameter.dtype))[0].softmax(1).max(1)
            confidence.append(highest.double())
            right.append((classes == labels).double())
    confidences, hits = torch.cat(confidence), torch.cat(right)
    bins = (confidences * BINS).long().clamp_max(BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device).index_add_(0, bins, confidences - hits)
    return float(gaps.abs().sum() / len(confidences))
