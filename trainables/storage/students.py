"""Storage of the students of completed trials."""

from __future__ import annotations

import json
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from trainables.errors import StudentError
from trainables.storage.object_store import ObjectStore
from trainables.system.own_files import distrust


class StudentStore:
    """Students of completed trials, named ``SWEEP/TRIAL``. The trial's config is in the file's header."""

    def __init__(self, store: ObjectStore) -> None:
        """Open the students in ``store``, the storage's folder of students."""
        self._store = store

    def save(self, student: str, weights: Mapping[str, Tensor], config_json: str) -> None:
        """Save a student under its name.

        Args:
            student: Name of the student, ``SWEEP/TRIAL``.
            weights: State dict of the student.
            config_json: Config of the trial as JSON.
        """
        plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        header = {"config": config_json}
        self._store.write(_student_key(student), save_tensors(plain, metadata=header))

    def load(self, student: str) -> dict[str, Tensor]:
        """Load the weights of the student ``SWEEP/TRIAL``.

        Raises:
            StudentError: there is no such student, or its file is damaged.
        """
        data = self._read(student)
        try:
            return load_tensors(data)
        except SafetensorError as error:
            raise StudentError(f"student {student} is damaged ({error}); run its trial again") from error

    def load_config(self, student: str) -> dict[str, object]:
        """Load the config of the trial ``SWEEP/TRIAL`` that trained the student.

        Raises:
            StudentError: there is no such student.
        """
        data = self._read(student)
        length = int.from_bytes(data[:8], "little")
        header: dict[str, object] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["config"])
        distrust(header)
        return header

    def _read(self, student: str) -> bytes:
        key = _student_key(student)
        if not self._store.exists(key):
            raise StudentError(
                f"there is no student {student} ({self._store.path(key)}): name a completed trial as SWEEP/TRIAL"
            )
        return self._store.read(key)


def _student_key(student: str) -> str:
    return f"{student}.safetensors"
