"""Probe sets on storage, beside the teachers: ``probes/<checksum of the teacher>-<recipe>.safetensors``."""

from __future__ import annotations

from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainables.config.datasets import image_size_in_words
from trainables.config.plugins import folder_of
from trainables.errors import TeacherError
from trainables.evaluation import ProbeKind, ProbeSet
from trainables.storage.object_store import ObjectStore
from trainables.system.own_files import checksums
from trainables.teachers.probe_set import RECIPE
from trainables.teachers.teacher import TeacherMetadata

_TARGETS = "targets"


class ProbeRegistry:
    """Probe sets of teachers, each made once.

    The key names what decides the images: the teacher's weights, the user's file that has its network, if one has, what
    they expect of a pixel, and the recipe. So a set is found again wherever the teacher came from, and by sweeps that do
    not know of each other.
    """

    def __init__(self, store: ObjectStore) -> None:
        """Args: store: The storage's folder of teachers."""
        self._store = store

    def find(self, teacher: TeacherMetadata) -> ProbeSet | None:
        """The teacher's probe set, or none.

        Raises:
            TeacherError: it is there but damaged.
        """
        key = _key(teacher)
        if not self._store.exists(key):
            return None
        try:
            tensors = load_tensors(self._store.read(key))
        except SafetensorError as error:
            raise TeacherError(
                f"probe set {self._store.shown(key)} is damaged; delete it and it is made again"
            ) from error
        targets = tensors.pop(_TARGETS)
        return ProbeSet(images={cast(ProbeKind, kind): images for kind, images in tensors.items()}, targets=targets)

    def add(self, probe: ProbeSet, teacher: TeacherMetadata) -> None:
        """Keep a teacher's probe set."""
        tensors = {str(kind): images for kind, images in probe.images.items()} | {_TARGETS: probe.targets}
        self._store.write(_key(teacher), save_tensors(tensors))


def _key(teacher: TeacherMetadata) -> str:
    # Networks whose weights fit any size see other images at another one.
    size = f"-{image_size_in_words(teacher.shapes['image_size'])}" if teacher.shapes else ""
    files = checksums({"network": teacher.network, "normalisation": teacher.normalisation})
    code = "".join(f"-{sha256[:8]}" for sha256 in files.values())
    return f"probes/{teacher.sha256[:16]}-{folder_of(teacher.normalisation)}{size}{code}-{RECIPE}.safetensors"
