"""Load teachers from published files of weights, and check them against the config."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from trainables.config.datasets import dataset_names, find_normalisation
from trainables.errors import TeacherError
from trainables.evaluation import right_images
from trainables.images.splits import DatasetSplits
from trainables.networks import Network, build_network
from trainables.teachers.normalisations import normalisation_probe, noticeably_better
from trainables.teachers.teacher import Teacher, describe_teacher, not_finite
from trainables.teachers.weight_files import read_weight_file
from trainables.teachers.weight_layouts import find_weights


def load_published_checkpoint(
    path: Path, *, dataset: str, name: str, normalisation: str, splits: DatasetSplits, shown: str | None = None
) -> Teacher:
    """Read published weights, in any layout whose names (after ``Network.our_key``) and shapes fit the architecture.

    Args:
        path: File of weights.
        dataset: Name of the data set that the network was trained on.
        name: Name of the architecture.
        normalisation: Normalisation of real images that the network expects.
        splits: Images on which the teacher is measured, with their description.
        shown: Address that the file comes from, for messages and the teacher's source. Defaults to ``path``.

    Raises:
        TeacherError: the file is missing or unreadable, its tensors do not fit the architecture, a number is not finite, the
            accuracy is implausibly low, or another normalisation is noticeably better.
    """
    shown = shown or str(path)
    file = read_weight_file(path, f"teacher_checkpoint={shown}")
    network = build_network(name, **splits.spec.shapes)
    found = find_weights(file, network, shown=f"teacher_checkpoint={shown}", subject=f"teacher={name} on {dataset}")
    network.load_state_dict(found.weights)
    strange = not_finite(network.state_dict())
    if strange:
        raise TeacherError(
            f"teacher_checkpoint={shown}: {strange}; its training has diverged, so take an earlier checkpoint of it"
        )
    if len(splits.test):
        _check_normalisation(network, normalisation, dataset=dataset, shown=shown, splits=splits)
    teacher = describe_teacher(
        network,
        dataset=dataset,
        name=name,
        normalisation=normalisation,
        source=shown.rpartition("/")[2],
        recipe={},
        splits=splits,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return replace(teacher, layout=found.layout)


def _check_normalisation(network: Network, chosen: str, *, dataset: str, shown: str, splits: DatasetSplits) -> None:
    """Check that no usual normalisation gives the weights a noticeably higher accuracy than the chosen one.

    Raises:
        TeacherError: another one does: ``half``, ``unit``, or the data set's own.
    """
    probe = normalisation_probe(splits)
    keys = {chosen, "half", "unit", *({dataset} & {*dataset_names()})}
    right = {key: right_images(network, probe, find_normalisation(key)) for key in sorted(keys)}
    measured = {key: int(images.sum()) / len(probe) for key, images in right.items()}
    better = [key for key in measured if noticeably_better(right[key], right[chosen])]
    if better:
        best = max(better, key=measured.__getitem__)
        raise TeacherError(
            f"teacher_checkpoint={shown} gets {measured[chosen]:.1%} of {len(probe)} test images right with "
            f"normalisation={chosen}, but {measured[best]:.1%} with normalisation={best}: add --set normalisation={best}"
        )
