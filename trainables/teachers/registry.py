"""Registry of the teachers that this program has trained, on the storage.

A teacher is stored as two objects, ``<dataset>/<network>-<key>/weights.safetensors`` and ``metadata.json``. The key is a
checksum of the recipe, so that each recipe is trained once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainables.config import SupervisedConfig
from trainables.config.plugins import folder_of
from trainables.config.roles import Decides, roles_of
from trainables.errors import TeacherError
from trainables.storage.node_cache import NodeCache
from trainables.storage.object_store import ObjectStore
from trainables.system.own_files import checksums
from trainables.teachers.teacher import Teacher, TeacherMetadata


class TeacherRegistry:
    """Registry of trained teachers on the storage."""

    def __init__(self, store: ObjectStore, cache: NodeCache | None = None) -> None:
        """Open a registry.

        Args:
            store: Object store with the storage's teachers.
            cache: Cache for copies of the weights on this machine. Defaults to the user's cache folder.
        """
        self._store = store
        self._cache = cache or NodeCache()

    def holds(self, config: SupervisedConfig) -> bool:
        """Return whether the registry has the teacher that was trained with a config."""
        # The metadata are written last: if they exist, the weights are complete.
        return self._store.exists(f"{self._folder(config)}/metadata.json")

    def find(self, config: SupervisedConfig) -> Teacher | None:
        """Load the teacher that was trained with a config; return None if there is none.

        Raises:
            TeacherError: the stored teacher is damaged, or its metadata do not agree with the config.
        """
        if not self.holds(config):
            return None
        folder = self._folder(config)
        metadata = _metadata(json.loads(self._store.read(f"{folder}/metadata.json")))
        named = (metadata.network, metadata.dataset, metadata.normalisation)
        if named != (config.student, config.dataset, config.normalisation or config.dataset):
            raise TeacherError(
                f"teacher {self._store.shown(folder)} is of {' '.join(named)}, contrary to its folder's name; delete the "
                "folder, and the teacher is trained again"
            )
        data = self._cache.fetch(self._store, f"{folder}/weights.safetensors").read_bytes()
        try:
            weights = load_tensors(data)
        except SafetensorError as error:
            raise TeacherError(self._damaged(folder)) from error
        if hashlib.sha256(data).hexdigest() != metadata.sha256:
            raise TeacherError(self._damaged(folder))
        return Teacher(metadata=metadata, weights=weights)

    def add(self, teacher: Teacher, config: SupervisedConfig) -> None:
        """Store the teacher that was trained with a config."""
        folder = self._folder(config)
        self._store.write(f"{folder}/weights.safetensors", save_tensors(dict(teacher.weights)))
        self._store.write(f"{folder}/metadata.json", json.dumps(_as_json(teacher.metadata), indent=2).encode())

    def _folder(self, config: SupervisedConfig) -> str:
        return f"{folder_of(config.dataset)}/{folder_of(config.student)}-{recipe_key(config)}"

    def _damaged(self, folder: str) -> str:
        return f"teacher {self._store.shown(folder)} is damaged; delete the folder, and the teacher is trained again"


def _as_json(metadata: TeacherMetadata) -> dict[str, Any]:
    """Return metadata in their stored form; ``shapes``, which was added later, is left out if None, as in older files."""
    return {key: value for key, value in asdict(metadata).items() if key != "shapes" or value is not None}


def _metadata(stored: dict[str, Any]) -> TeacherMetadata:
    """Return metadata from their stored form, in which JSON has lists for tuples."""
    shapes = stored.get("shapes")
    if shapes is not None:
        stored = {**stored, "shapes": {**shapes, "image_size": tuple(shapes["image_size"])}}
    return TeacherMetadata(**stored)


def teacher_recipe(config: SupervisedConfig) -> dict[str, Any]:
    """Return the settings that decide a trained teacher's weights, except those with default values.

    Defaults are left out so that fields that are added later change no key.
    """
    roles = roles_of(type(config)).items()
    irrelevant = {field for field, role in roles if role.weightless or role.decides is Decides.LOCATION}
    return config.model_dump(exclude_defaults=True, exclude=irrelevant)


def recipe_key(config: SupervisedConfig) -> str:
    """Return a short checksum of the recipe and of the user's own files that it names, since these change the teacher."""
    recipe = teacher_recipe(config)
    decides = {**recipe, **({"files": found} if (found := checksums(recipe)) else {})}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
