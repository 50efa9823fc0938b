"""Named bytes on any filesystem, each object published whole or not at all, with patience where the place is remote.

Everything the project keeps (teachers, checkpoints, results, studies) goes through these few methods, in the driver and
in every worker. So a local folder and a bucket have the same layout and the same promises, and what happens when storage
does not answer is decided here alone: a request that may succeed later is made again, at random moments that lie further
and further apart, until it succeeds or ``patience`` is used up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from trainables.errors import StorageOutageError
from trainables.storage.filesystems import Filesystem, PassingError
from trainables.system.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from tenacity import RetryCallState

PATIENCE_SECONDS = 600.0
"""How long a request is made again by default. A trial of hours is worth ten minutes."""

_FIRST_WORD_SECONDS = 5.0
"""Shorter waits are not worth a line."""
_NEXT_WORD_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 10.0
_READERS = 16

logger = logging.getLogger("zskt.storage")
"""Says when storage keeps us waiting, and when it is back."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A folder of a filesystem. Keys are paths below it, with ``/`` between parts and no leading ``/``.

    Can be pickled, so a worker writes to the same place as the driver.

    **Errors.** ``FileNotFoundError`` for an object that is not there; ``StorageOutageError`` when patience is used up; any
    other ``OSError`` at once, where waiting would not help (no right, no bucket, no space).
    """

    filesystem: Filesystem
    root: str
    patience: float = PATIENCE_SECONDS
    """Seconds for which one request is made again before it fails."""

    clock: Clock = SYSTEM_CLOCK
    """By which these seconds pass."""

    def below(self, prefix: str) -> ObjectStore:
        """The store whose root is ``prefix`` in this one."""
        return replace(self, root=f"{self.root}/{prefix}")

    def path(self, key: str) -> str:
        """Where an object lies, for the filesystem."""
        return f"{self.root}/{key}"

    def shown(self, key: str) -> str:
        """Where an object lies, for a person."""
        return self.filesystem.shown(self.path(key))

    def write(self, key: str, data: bytes) -> None:
        """Publish an object, replacing an older one under the same key.

        A reader sees the old object, the new one or none, never a part. Writing again after an answer that got lost
        changes nothing, since the same key gets the same bytes.
        """
        self._patiently(lambda: self.filesystem.write(self.path(key), data))

    def read(self, key: str) -> bytes:
        """The object's bytes."""
        return self._patiently(lambda: self.filesystem.read(self.path(key)))

    def read_all(self, keys: Iterable[str]) -> list[bytes]:
        """The bytes of several objects, in their order; several at once, since from a bucket each takes a while."""
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="read") as readers:
            return list(readers.map(self.read, keys))

    def read_found(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The same without those that are gone by now."""

        def read(key: str) -> tuple[str, bytes | None]:
            try:
                return key, self.read(key)
            except FileNotFoundError:
                return key, None

        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="read") as readers:
            return {key: data for key, data in readers.map(read, keys) if data is not None}

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._patiently(lambda: self.filesystem.exists(self.path(key)))

    def version(self, key: str) -> str:
        """Another text whenever the object has other bytes."""
        return self._patiently(lambda: self.filesystem.version(self.path(key)))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object below ``prefix``, by key, sorted; empty where there is nothing."""
        found = self._patiently(lambda: self.filesystem.sizes(self.path(prefix).rstrip("/")))
        start = len(self.root) + 1
        return {
            path[start:]: size
            for path, size in sorted(found.items())
            if not path.rpartition("/")[2].startswith(".")  # written halfway, or not ours
        }

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below ``prefix``, sorted; empty where there is nothing."""
        return list(self.sizes(prefix))

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._patiently(lambda: self.filesystem.delete(self.path(key)))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove several objects; from a bucket several at once."""
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="delete") as workers:
            list(workers.map(self.delete, keys))

    def _patiently(self, request: Callable[[], T]) -> T:
        wait = _Wait(self.filesystem.shown(self.root), self.clock)
        try:
            return request()
        except PassingError as error:
            return self._again(request, error, wait)

    def _again(self, request: Callable[[], T], first: PassingError, wait: _Wait) -> T:
        """Make a request that has failed once again and again, until it succeeds or patience is used up."""
        # Brings asyncio and ssl, 0.05 CPU seconds that no storage is worth which answers.
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        failed = [first]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return request()

        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_PAUSE_SECONDS),
            stop=lambda state: wait.seconds + state.upcoming_sleep >= self.patience,
            sleep=self.clock.sleep,
            before_sleep=wait.told_of,
            reraise=True,
        )
        try:
            answer = retrying(attempt)
        except PassingError as error:
            raise StorageOutageError(
                f"storage did not answer for {wait.seconds:.0f} s ({error}); the patience is {self.patience:.0f} s"
            ) from error
        wait.over()
        return answer


class _Wait:
    """One request's waiting, told in a few lines."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._start = clock.monotonic()
        self._next_word = _FIRST_WORD_SECONDS

    @property
    def seconds(self) -> float:
        return self._clock.monotonic() - self._start

    def told_of(self, state: RetryCallState) -> None:
        """An attempt has failed and another will be made."""
        if self.seconds < self._next_word:
            return
        self._next_word = self.seconds + _NEXT_WORD_SECONDS
        error = state.outcome.exception() if state.outcome else None
        logger.warning(
            "storage %s does not answer; waiting (since %.0f s). Last answer: %s", self._place, self.seconds, error
        )

    def over(self) -> None:
        """The request has succeeded."""
        if self._next_word > _FIRST_WORD_SECONDS:
            logger.warning("storage %s answers again, after %.0f s", self._place, self.seconds)
