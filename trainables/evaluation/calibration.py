"""Calibration error: the gap between a network's confidence and its accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config.datasets import Normalisation
from trainables.evaluation.accuracy import of_each_batch
from trainables.images.splits import ImageSet
from trainables.networks import Network

BINS = 15
"""Number of equally wide intervals of confidence, as in Guo et al., ICML 2017."""


def calibration_error(network: Network, data: ImageSet, normalisation: Normalisation) -> float:
    """Return the expected calibration error, in [0, 1].

    Images are sorted into ``BINS`` intervals by their confidence, the network's highest probability. The error is the mean
    over intervals, weighted by their numbers of images, of the absolute difference between mean confidence and accuracy
    (Guo et al., ICML 2017).

    Args:
        network: Network on the same device as ``data``.
        data: At least one image.
        normalisation: Normalisation that the network expects.
    """

    def confidence_and_hit(logits: Tensor, labels: Tensor) -> Tensor:
        highest, classes = logits.softmax(1).max(1)
        return torch.stack((highest, classes == labels), dim=1).double()

    confidences, hits = of_each_batch(network, data, normalisation, confidence_and_hit).unbind(1)
    bins = (confidences * BINS).long().clamp_max(BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device).index_add_(0, bins, confidences - hits)
    return float(gaps.abs().sum() / len(confidences))
