"""Where teachers come from: trained here, a published checkpoint, or the registry on storage.

A teacher's identity travels with it: the checksum of its weights, its accuracies, and the recipe or file it came from.
In the registry a teacher is two objects, ``<dataset>/<network>-<key>/weights.safetensors`` and ``metadata.json``; the
key is made from the recipe, so that the same recipe is trained once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainables.config import SupervisedConfig
from trainables.config.datasets import find_normalisation, find_spec
from trainables.config.network_names import network_folder
from trainables.config.roles import Decides, roles_of
from trainables.data.splits import DatasetSplits
from trainables.errors import TeacherError
from trainables.evaluation import accuracy, measure
from trainables.networks import Network, build_network
from trainables.seeding import seeded
from trainables.storage.node_cache import NodeCache
from trainables.storage.object_store import ObjectStore

PLAUSIBLE_ACCURACY = 0.5
"""A teacher below this share of the way from chance to perfect is taken for a mistake, not for a teacher."""

NOTICEABLE_GAIN = 0.02
"""If another normalisation gives a checkpoint this much more accuracy, that one is taken for the right one."""

NORMALISATION_PROBE = 1000
"""Test images on which normalisations are compared."""


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


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Weights and what is known of them. Plain tensors, so that it travels between processes."""

    metadata: TeacherMetadata
    weights: Mapping[str, torch.Tensor]

    def build(self) -> Network:
        """A fresh network with these weights."""
        spec = find_spec(self.metadata.dataset)
        with seeded(0, "overwritten by the next line"):
            network = build_network(self.metadata.network, num_classes=spec.num_classes, channels=spec.channels)
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
    strange = _not_finite(network.state_dict())
    if strange:
        raise TeacherError(
            f"teacher {name} ({source}) on {dataset}: {strange}; its training has diverged, so lower learning_rate in "
            "teacher_recipe"
        )
    with seeded(0, "teacher measured"):  # a network may draw random numbers in eval mode too
        accuracies = measure(network, splits, find_normalisation(normalisation))
    chance = 1 / find_spec(dataset).num_classes
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
    )
    return Teacher(metadata=metadata, weights=weights)


def load_published_checkpoint(
    path: Path, *, dataset: str, name: str, normalisation: str, splits: DatasetSplits, shown: str | None = None
) -> Teacher:
    """Read weights published by others: ``{"state_dict": ...}`` or a bare state dict, with the names of ``Network.our_key``.

    Args:
        path: The file.
        dataset: What the network was trained on.
        name: Its architecture.
        normalisation: What its pixels are normalised by.
        splits: Images on which it is measured.
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
    spec = find_spec(dataset)
    network = build_network(name, num_classes=spec.num_classes, channels=spec.channels)
    given = weights if isinstance(weights, Mapping) else {}
    # DataParallel puts a prefix before each name.
    named = {network.our_key(str(key).removeprefix("module.")): value for key, value in given.items()}
    mismatch = _mismatch(network.state_dict(), named)
    if mismatch:
        raise TeacherError(f"teacher_checkpoint={shown} does not fit teacher={name} on {dataset}: {mismatch}")
    network.load_state_dict(named)
    strange = _not_finite(network.state_dict())
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


class TeacherRegistry:
    """Teachers trained here, on storage."""

    def __init__(self, store: ObjectStore, cache: NodeCache | None = None) -> None:
        """Open a registry.

        Args:
            store: The storage's folder of teachers.
            cache: Where copies of their weights are kept on this machine; none: in the user's cache folder.
        """
        self._store = store
        self._cache = cache or NodeCache()

    def holds(self, config: SupervisedConfig) -> bool:
        """Whether it has the teacher that this training gave."""
        # The metadata is written last: where it is, the weights are complete.
        return self._store.exists(f"{self._folder(config)}/metadata.json")

    def find(self, config: SupervisedConfig) -> Teacher | None:
        """The teacher that this training gave, or none.

        Raises:
            TeacherError: it is there but damaged.
        """
        if not self.holds(config):
            return None
        folder = self._folder(config)
        metadata = TeacherMetadata(**json.loads(self._store.read(f"{folder}/metadata.json")))
        data = self._cache.fetch(self._store, f"{folder}/weights.safetensors").read_bytes()
        try:
            weights = load_tensors(data)
        except SafetensorError as error:
            raise TeacherError(self._damaged(folder)) from error
        if hashlib.sha256(data).hexdigest() != metadata.sha256:
            raise TeacherError(self._damaged(folder))
        return Teacher(metadata=metadata, weights=weights)

    def add(self, teacher: Teacher, config: SupervisedConfig) -> None:
        """Keep the teacher that this training gave."""
        folder = self._folder(config)
        self._store.write(f"{folder}/weights.safetensors", save_tensors(dict(teacher.weights)))
        self._store.write(f"{folder}/metadata.json", json.dumps(asdict(teacher.metadata), indent=2).encode())

    def _folder(self, config: SupervisedConfig) -> str:
        return f"{config.dataset}/{network_folder(config.student)}-{recipe_key(config)}"

    def _damaged(self, folder: str) -> str:
        return f"teacher {self._store.shown(folder)} is damaged; delete that folder and it is trained again"


def teacher_recipe(config: SupervisedConfig) -> dict[str, Any]:
    """All that decides a trained teacher's weights, where it is not as published: settings added later change no key."""
    roles = roles_of(type(config)).items()
    irrelevant = {field for field, role in roles if role.weightless or role.decides is Decides.LOCATION}
    return config.model_dump(exclude_defaults=True, exclude=irrelevant)


def recipe_key(config: SupervisedConfig) -> str:
    """A short checksum of the recipe."""
    return hashlib.sha256(json.dumps(teacher_recipe(config), sort_keys=True).encode()).hexdigest()[:12]


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


def _not_finite(weights: Mapping[str, torch.Tensor]) -> str:
    """Which weights and running statistics are NaN or infinite, the first one by name; empty if none is."""
    counts = {key: int((~value.isfinite()).sum()) for key, value in weights.items()}
    strange = {key: count for key, count in counts.items() if count}
    if not strange:
        return ""
    key, count = next(iter(strange.items()))
    more = f", and so are some in {len(strange) - 1} more tensors" if len(strange) > 1 else ""
    return f"{count} of the {weights[key].numel()} numbers in {key} are NaN or infinite{more}"


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
