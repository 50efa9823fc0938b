"""Dummy teachers and images with the shapes of real ones, for measuring what a trial costs.

A trial's time and memory do not depend on what its networks have learnt, so no trained teacher and no data set is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config import AnyTrialConfig
from trainables.evaluation.data_free import PROBE_IMAGES, PROBE_KINDS, ProbeSet
from trainables.images.splits import DatasetSplits, ImageSet
from trainables.networks import Network, build_network
from trainables.seeding import seeded, stream
from trainables.teachers.teacher import Teacher, TeacherMetadata


def dummy_teacher(config: AnyTrialConfig) -> Teacher:
    """Return an untrained teacher of the config's architecture, with BatchNorm statistics fitted to noise.

    Without fitted statistics the activations of a deep network grow from block to block, until its probabilities are 0, 1 or
    denormal numbers, with which a CPU computes many times slower than with the numbers of a trained teacher.
    """
    spec = config.spec
    with seeded(0, "stand-in"):
        network = build_network(str(config.teacher), **spec.shapes)
    noise = torch.randn(64, *spec.image_shape, generator=stream(0, "stand-in's noise"))
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad():
        network.train()(noise)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    metadata = TeacherMetadata(
        dataset=config.dataset,
        shapes=spec.shapes,
        network=str(config.teacher),
        normalisation=config.normalisation or config.dataset,
        source="untrained",
        sha256="",
        validation_accuracy=None,
        test_accuracy=0.0,
        recipe={},
    )
    return Teacher(metadata=metadata, weights=network.state_dict())


def dummy_splits(config: AnyTrialConfig, *, train: int, test: int) -> DatasetSplits:
    """Return ``train`` and ``test`` black images as training and test splits, with labels in turn; none for validation."""
    return DatasetSplits(
        spec=config.spec,
        train=_blank(train, config),
        validation=_blank(0, config),
        test=_blank(test, config),
    )


def dummy_probe(config: AnyTrialConfig) -> ProbeSet:
    """Return a probe set of the real size, in which all images are zeros."""
    shape = (PROBE_IMAGES, *config.spec.image_shape)
    return ProbeSet(
        images={kind: torch.zeros(shape, dtype=torch.float16) for kind in PROBE_KINDS},
        targets=torch.zeros(PROBE_IMAGES, dtype=torch.int64),
    )


class ConstantPrediction(Network):
    """Wrapper of a network that always predicts class 0, at the network's normal cost.

    Transition curves use only images on which two networks agree, and two wrapped networks agree on all images.
    """

    def __init__(self, network: Network) -> None:
        """Wrap ``network``, whose computation a forward pass does."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits that are equal for all images, and the network's activations."""
        logits, activations = self.network(images)
        return 0 * logits - torch.arange(logits.shape[1], device=logits.device), activations

    def fold_batch_norms(self) -> None:
        """Fold the wrapped network's BatchNorms."""
        self.network.fold_batch_norms()


def _blank(count: int, config: AnyTrialConfig) -> ImageSet:
    spec = config.spec
    return ImageSet(
        images=torch.zeros(count, *spec.image_shape, dtype=torch.uint8), labels=torch.arange(count) % spec.num_classes
    )
