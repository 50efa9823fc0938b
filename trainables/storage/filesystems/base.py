"""Interface of the object store's filesystems, and their errors."""

from __future__ import annotations

from typing import Protocol


class PassingError(OSError):
    """Temporary failure: the storage is busy, slow or unreachable, and a retry of the request may succeed."""


class Filesystem(Protocol):
    """Storage of bytes by path. Each call makes one attempt; ``ObjectStore`` retries.

    Paths have ``/`` between their parts. Implementations can be pickled without credentials, so that a worker opens the same
    storage with credentials of its own.

    **Errors.** ``PassingError`` if a retry can help, ``FileNotFoundError`` if an object does not exist, and other kinds of
    ``OSError`` if only the user can help: no permission, no bucket, no space.
    """

    def write(self, path: str, data: bytes) -> None:
        """Write an object, replacing an older one; readers see the old or the new object, never a part of one."""

    def read(self, path: str) -> bytes:
        """Return all bytes of an object."""

    def exists(self, path: str) -> bool:
        """Return whether an object exists."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of each object below ``folder``, by path; empty if there is none."""

    def version(self, path: str) -> str:
        """Return a text that changes whenever the object's bytes change."""

    def delete(self, path: str) -> None:
        """Delete an object; no error if the object does not exist."""

    def shown(self, path: str) -> str:
        """Return the address of a path as a user would write it."""
