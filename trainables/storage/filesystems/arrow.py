"""Filesystems that pyarrow opens by URI and that have no module of their own, such as Google Cloud Storage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import fs

from trainables.errors import StorageRefusedError
from trainables.storage.filesystems.base import PassingError

_LASTING = re.compile(
    r"PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|FAILED_PRECONDITION|NOT_FOUND|ALREADY_EXISTS|OUT_OF_RANGE|"
    r"Permission denied|credentials",
)
"""Statuses of google-cloud-cpp that a retry cannot help, found in messages, since pyarrow has no error types for them."""


@dataclass(frozen=True)
class ArrowFilesystem:
    """Objects of a pyarrow filesystem."""

    filesystem: fs.FileSystem
    scheme: str

    def write(self, path: str, data: bytes) -> None:
        with self._translated(path), self.filesystem.open_output_stream(path) as stream:
            stream.write(data)

    def read(self, path: str) -> bytes:
        with self._translated(path), self.filesystem.open_input_file(path) as stream:
            data: bytes = stream.read()
        return data

    def exists(self, path: str) -> bool:
        with self._translated(path):
            return bool(self.filesystem.get_file_info(path).type is fs.FileType.File)

    def sizes(self, folder: str) -> dict[str, int]:
        selector = fs.FileSelector(folder.rstrip("/"), recursive=True, allow_not_found=True)
        with self._translated(folder):
            found = self.filesystem.get_file_info(selector)
        return {info.path: info.size for info in found if info.type is fs.FileType.File}

    def version(self, path: str) -> str:
        with self._translated(path):
            info = self.filesystem.get_file_info(path)
        if info.type is not fs.FileType.File:
            raise FileNotFoundError(f"{self.shown(path)}: no such object")
        return f"{info.size}-{info.mtime_ns}"

    def delete(self, path: str) -> None:
        try:
            with self._translated(path):
                self.filesystem.delete_file(path)
        except FileNotFoundError:
            pass

    def shown(self, path: str) -> str:
        return f"{self.scheme}://{path}"

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except pa.ArrowInvalid as error:  # INVALID_ARGUMENT, which is no OSError
            raise StorageRefusedError(f"{self.shown(path)}: {error}") from error
        except OSError as error:
            if error.errno is not None or _LASTING.search(str(error)):
                raise StorageRefusedError(f"{self.shown(path)}: {error}") from error
            raise PassingError(f"{self.shown(path)}: {error}") from error
