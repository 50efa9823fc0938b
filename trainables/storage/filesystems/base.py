"""What a place for bytes must be able to do, and the two ways in which it can fail."""

from __future__ import annotations

from typing import Protocol


class PassingError(OSError):
    """The other side is busy, slow or gone for now: the same request may succeed later."""


class Filesystem(Protocol):
    """Bytes by path. Each call makes one attempt; waiting and trying again is ``ObjectStore``'s.

    Paths have ``/`` between their parts. Implementations can be pickled and hold no secret when they are, so that a
    worker opens the same place with credentials of its own.

    **Errors.** ``PassingError`` where trying again can help, ``FileNotFoundError`` for an object that is not there, any
    other ``OSError`` where only a person can help: no right, no bucket, no space.
    """

    def write(self, path: str, data: bytes) -> None:
        """Publish an object whole, replacing an older one: readers see the old one or the new one, never a part."""

    def read(self, path: str) -> bytes:
        """The object's bytes, all of them or an error."""

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each object below ``folder``, by its path; empty where there is nothing."""

    def version(self, path: str) -> str:
        """Another text whenever the object has other bytes."""

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""

    def shown(self, path: str) -> str:
        """The path as a person would write it."""
