"""Teachers whose weights others have published, read from a file and held against what the config says of them."""

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
    """Read weights published by others, from any layout in which names (by ``Network.our_key``) and shapes decide.

    Args:
        path: The file.
        dataset: What the network was trained on.
        name: Its architecture.
        normalisation: What its pixels are normalised by.
        splits: Images on which it is measured, and what is known of them.
        shown: Where the file comes from, if ``path`` is a copy; its last part becomes the teacher's source.

    Raises:
        TeacherError: the file is missing or unreadable, its tensors are not this architecture's, one of them is not finite,
            or its measured accuracy says that something is wrong.
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
    """Refuse a normalisation if another one of the table suits the weights noticeably better."""
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
