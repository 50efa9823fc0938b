"""Local filesystem, whose written files survive a power cut."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalFilesystem:
    """Files by their absolute path. A full or failing disk is an error at once, since a retry cannot help."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file under another name, flush it to the disk, and rename it.

        If the machine loses power, without the first ``fsync`` the name may be kept and the bytes lost; without the second
        the name may be lost.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays on one disk; the dot hides it from readers that list the folder.
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def exists(self, path: str) -> bool:
        return Path(path).is_file()

    def sizes(self, folder: str) -> dict[str, int]:
        found = {}
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):  # deleted since the folder was listed
                    found[str(path)] = path.stat().st_size
        return found

    def version(self, path: str) -> str:
        state = Path(path).stat()
        return f"{state.st_size}-{state.st_mtime_ns}"

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def shown(self, path: str) -> str:
        return path
