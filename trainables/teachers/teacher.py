"""A teacher: its weights, and what is known of them.

A teacher's identity travels with it: the checksum of its weights, its accuracies, and the recipe or file it came from.
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
"""A teacher below this share of the way from chance to perfect is taken for a mistake, not for a teacher."""


@dataclass(frozen=True, kw_only=True)
class TeacherMetadata:
    """What is known of a teacher.

    ``source`` is a file name or ``trained``, ``sha256`` that of the file: the published one, or the registry's. Accuracies
    are top-1 shares in [0, 1]; a published teacher has usually seen the validation images in its training. There is none
    on images that are not there: where no validation part was set aside, or nothing is to be read.
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
    """What its network fits, where that is not what is known of ``dataset``, such as images of another size."""

    @property
    def network_shapes(self) -> Shapes:
        """What the teacher's network fits."""
        return self.shapes or find_spec(self.dataset).shapes


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Weights and what is known of them. Plain tensors, so that it travels between processes."""

    metadata: TeacherMetadata
    weights: Mapping[str, torch.Tensor]
    layout: str = ""
    """How a file by others held the weights, in words; empty for a bare state dict and for a teacher trained here."""

    def build(self) -> Network:
        """A fresh network with these weights."""
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
    """Measure a trained network and give it its papers.

    Args:
        sha256: Checksum of the file it comes from; none: of the file that the registry will hold.

    Raises:
        TeacherError: a weight is NaN or infinite, or its test accuracy is too low to be a teacher's.
    """
    strange = not_finite(network.state_dict())
    if strange:
        raise TeacherError(
            f"teacher {name} ({source}) on {dataset}: {strange}; its training has diverged, so lower learning_rate in "
            "teacher_recipe"
        )
    with seeded(0, "teacher measured"):  # a network may draw random numbers in eval mode too
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
    """Which weights and running statistics are NaN or infinite, the first one by name; empty if none is."""
    counts = {key: int((~value.isfinite()).sum()) for key, value in weights.items()}
    strange = {key: count for key, count in counts.items() if count}
    if not strange:
        return ""
    key, count = next(iter(strange.items()))
    more = f", and so are some in {len(strange) - 1} more tensors" if len(strange) > 1 else ""
    return f"{count} of the {weights[key].numel()} numbers in {key} are NaN or infinite{more}"
