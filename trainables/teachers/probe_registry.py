"""Registry of probe sets on the storage, in the folder ``probes`` next to the teachers."""

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
    """Registry of the teachers' probe sets, each of which is made once.

    The key of a probe set contains everything that decides its images: the checksum of the teacher's weights, the
    normalisation, the image size if unusual, checksums of the user's own files for network and normalisation, and the
    version of the recipe. A probe set is therefore found wherever the teacher came from, and shared between sweeps.
    """

    def __init__(self, store: ObjectStore) -> None:
        """Open a registry.

        Args:
            store: Object store with the storage's teachers.
        """
        self._store = store

    def find(self, teacher: TeacherMetadata) -> ProbeSet | None:
        """Load the teacher's probe set; return None if there is none.

        Raises:
            TeacherError: the stored probe set is damaged.
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
        """Store a teacher's probe set."""
        tensors = {str(kind): images for kind, images in probe.images.items()} | {_TARGETS: probe.targets}
        self._store.write(_key(teacher), save_tensors(tensors))


def _key(teacher: TeacherMetadata) -> str:
    # A network whose weights fit any image size has another probe set for each size.
    size = f"-{image_size_in_words(teacher.shapes['image_size'])}" if teacher.shapes else ""
    files = checksums({"network": teacher.network, "normalisation": teacher.normalisation})
    code = "".join(f"-{sha256[:8]}" for sha256 in files.values())
    return f"probes/{teacher.sha256[:16]}-{folder_of(teacher.normalisation)}{size}{code}-{RECIPE}.safetensors"
