"""Teachers: weights with metadata.

The metadata identify a teacher wherever it is used: checksum of the weights, accuracies, and the recipe or file that it came
from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save as save_tensors

from trainables.config.datasets import Shapes, find_normalisation, find_spec, named_shapes
from trainables.errors import TeacherError
from trainables.evaluation import measure
from trainables.images.splits import DatasetSplits
from trainables.networks import Network, build_network
from trainables.seeding import seeded

PLAUSIBLE_ACCURACY = 0.5
"""Minimum accuracy of a teacher, as a share of the way from chance to 100 %; a lower accuracy is taken for a mistake."""


@dataclass(frozen=True, kw_only=True)
class TeacherMetadata:
    """Metadata of a teacher.

    ``source`` is a file name or ``trained``. ``sha256`` is the checksum of the published file, or of the registry's file.
    Accuracies are top-1 shares in [0, 1], None without images to measure on: if no validation part is set aside, or no real
    image may be read. A published teacher has usually been trained on the validation images.
    """

    dataset: str
    network: str
    normalisation: str
    source: str
    sha256: str
    validation_accuracy: float | None
    test_accuracy: float | None
    recipe: dict[str, Any]
    shapes: Shapes | None = None
    """Shapes of the network, where they differ from those of ``dataset``, such as another image size; else None."""

    @property
    def network_shapes(self) -> Shapes:
        """Shapes of the teacher's network."""
        return self.shapes or find_spec(self.dataset).shapes


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Teacher: weights with metadata. The weights are plain tensors, so that a teacher can be sent between processes."""

    metadata: TeacherMetadata
    weights: Mapping[str, torch.Tensor]
    layout: str = ""
    """Description of how a published file held the weights; empty for a bare state dict and for a teacher trained here."""

    def build(self) -> Network:
        """Build a network with these weights."""
        with seeded(0, "overwritten by the next line"):
            network = build_network(self.metadata.network, **self.metadata.network_shapes)
        network.load_state_dict(dict(self.weights))
        return network


def describe_teacher(
    network: Network,
    *,
    dataset: str,
    name: str,
    normalisation: str,
    source: str,
    recipe: Mapping[str, Any],
    splits: DatasetSplits,
    sha256: str | None = None,
) -> Teacher:
    """Measure a trained network, and return it as a teacher with metadata.

    Args:
        network: Trained network.
        dataset: Name of the data set that the network was trained on.
        name: Name of the architecture.
        normalisation: Normalisation of real images that the network expects.
        source: File name of the weights, or ``trained``.
        recipe: Settings of the training; empty for published weights.
        splits: Images on which the accuracies are measured.
        sha256: Checksum of the file that the network comes from. Defaults to that of the registry's file.

    Raises:
        TeacherError: a weight is NaN or infinite, or the test accuracy is implausibly low.
    """
    strange = not_finite(network.state_dict())
    if strange:
        raise TeacherError(
            f"teacher {name} ({source}) on {dataset}: {strange}; its training has diverged, so lower learning_rate in "
            "teacher_recipe"
        )
    with seeded(0, "teacher measured"):  # some networks draw random numbers even in eval mode
        accuracies = measure(network, splits, find_normalisation(normalisation))
    chance = 1 / splits.spec.num_classes
    threshold = chance + PLAUSIBLE_ACCURACY * (1 - chance)
    if accuracies.test is not None and accuracies.test < threshold:
        raise TeacherError(
            f"teacher {name} ({source}) has {accuracies.test:.1%} test accuracy on {dataset} with "
            f"normalisation={normalisation}; at least {threshold:.0%} is expected. Is it the right architecture and data "
            "set? Were its classes numbered in the same order? Was it trained long enough?"
        )
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    metadata = TeacherMetadata(
        dataset=dataset,
        network=name,
        normalisation=normalisation,
        source=source,
        sha256=sha256 or hashlib.sha256(save_tensors(weights)).hexdigest(),
        validation_accuracy=accuracies.validation,
        test_accuracy=accuracies.test,
        recipe=dict(recipe),
        shapes=splits.spec.shapes if splits.spec.shapes != named_shapes(dataset) else None,
    )
    return Teacher(metadata=metadata, weights=weights)


def not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """Return a description of the weights and running statistics that are NaN or infinite; empty if all are finite."""
    counts = {key: int((~value.isfinite()).sum()) for key, value in weights.items()}
    strange = {key: count for key, count in counts.items() if count}
    if not strange:
        return ""
    key, count = next(iter(strange.items()))
    more = f", and so are some in {len(strange) - 1} more tensors" if len(strange) > 1 else ""
    return f"{count} of the {weights[key].numel()} numbers in {key} are NaN or infinite{more}"
