"""Teachers whose weights others have published, read from a file and held against what the config says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.config.datasets import find_normalisation
from trainables.errors import TeacherError
from trainables.evaluation import accuracy
from trainables.images.splits import DatasetSplits
from trainables.networks import Network, build_network
from trainables.teachers.teacher import Teacher, describe_teacher, not_finite

NOTICEABLE_GAIN = 0.02
"""If another normalisation gives a checkpoint this much more accuracy, that one is taken for the right one."""

NORMALISATION_PROBE = 1000
"""Test images on which normalisations are compared."""


def load_published_checkpoint(
    path: Path, *, dataset: str, name: str, normalisation: str, splits: DatasetSplits, shown: str | None = None
) -> Teacher:
    """Read weights published by others: ``{"state_dict": ...}`` or a bare state dict, with the names of ``Network.our_key``.

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
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TeacherError(f"teacher_checkpoint={shown}: there is no such file") from error
    except Exception as error:  # torch.load raises many kinds for a file that is no checkpoint
        raise TeacherError(f"teacher_checkpoint={shown} is not a torch file of plain tensors: {error}") from error
    if not isinstance(content, Mapping):
        raise TeacherError(f"teacher_checkpoint={shown} holds {type(content).__name__}; expected a state dict")
    weights = content.get("state_dict", content)
    network = build_network(name, **splits.spec.shapes)
    given = weights if isinstance(weights, Mapping) else {}
    # DataParallel puts a prefix before each name.
    named = {network.our_key(str(key).removeprefix("module.")): value for key, value in given.items()}
    mismatch = _mismatch(network.state_dict(), named)
    if mismatch:
        raise TeacherError(f"teacher_checkpoint={shown} does not fit teacher={name} on {dataset}: {mismatch}")
    network.load_state_dict(named)
    strange = not_finite(network.state_dict())
    if strange:
        raise TeacherError(
            f"teacher_checkpoint={shown}: {strange}; its training has diverged, so take an earlier checkpoint of it"
        )
    if len(splits.test):
        _check_normalisation(network, normalisation, dataset=dataset, shown=shown, splits=splits)
    return describe_teacher(
        network,
        dataset=dataset,
        name=name,
        normalisation=normalisation,
        source=shown.rpartition("/")[2],
        recipe={},
        splits=splits,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _check_normalisation(network: Network, chosen: str, *, dataset: str, shown: str, splits: DatasetSplits) -> None:
    """Refuse a normalisation if another one of the table suits the weights noticeably better."""
    probe = splits.test.subset(torch.arange(min(NORMALISATION_PROBE, len(splits.test))))
    measured = {
        key: accuracy(network, probe, find_normalisation(key)) for key in sorted({chosen, dataset, "half", "unit"})
    }
    best = max(measured, key=lambda key: (measured[key], key == chosen))
    if measured[best] > measured[chosen] + NOTICEABLE_GAIN:
        raise TeacherError(
            f"teacher_checkpoint={shown} gets {measured[chosen]:.1%} of {len(probe)} test images right with "
            f"normalisation={chosen}, but {measured[best]:.1%} with normalisation={best}: add --set normalisation={best}"
        )


def _mismatch(expected: Mapping[str, torch.Tensor], found: Mapping[str, Any]) -> str:
    """How a file's tensors differ from a network's, with the first of each kind as an example; empty if they do not."""
    differences = {
        "missing": [key for key in expected if key not in found],
        "too many": [key for key in found if key not in expected],
        "of another shape": [
            k for k in expected if k in found and expected[k].shape != getattr(found[k], "shape", None)
        ],
    }
    return ", ".join(f"{len(keys)} tensors {what} ({keys[0]}, ...)" for what, keys in differences.items() if keys)
