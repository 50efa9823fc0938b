"""Object store on any filesystem: named bytes, each object written completely or not at all, with retries in outages.

The driver and all workers store everything through this class: teachers, checkpoints, results, studies. Local folders and
buckets therefore have the same layout and the same guarantees. A request that may succeed later is retried with growing
random pauses, until it succeeds or ``patience`` is used up.
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
"""Default of the seconds for which a request is retried. Ten minutes are short beside a trial of hours."""

_FIRST_WORD_SECONDS = 5.0
"""Seconds of waiting before the first warning."""
_NEXT_WORD_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 10.0
_READERS = 16

logger = logging.getLogger("zskt.storage")
"""Logs the beginning and the end of outages."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """Objects below a folder of a filesystem. Keys are paths below the folder, with ``/`` between parts, not at the start.

    A store can be pickled, so that a worker writes to the same place as the driver.

    **Errors.** ``FileNotFoundError`` if an object does not exist; ``StorageOutageError`` when patience is used up; other
    kinds of ``OSError`` at once, if a retry cannot help (no permission, no bucket, no space).
    """

    filesystem: Filesystem
    root: str
    patience: float = PATIENCE_SECONDS
    """Seconds for which one request is retried before it fails."""

    clock: Clock = SYSTEM_CLOCK
    """Clock by which patience is measured."""

    def below(self, prefix: str) -> ObjectStore:
        """Return the store whose root is the folder ``prefix`` of this store."""
        return replace(self, root=f"{self.root}/{prefix}")

    def path(self, key: str) -> str:
        """Return the path of an object, as the filesystem takes it."""
        return f"{self.root}/{key}"

    def shown(self, key: str) -> str:
        """Return the address of an object, for messages."""
        return self.filesystem.shown(self.path(key))

    def write(self, key: str, data: bytes) -> None:
        """Write an object, replacing an older object under the same key.

        Readers see the old object, the new object or none, never a part of one. A retry after a lost answer does no harm,
        since the retry writes the same bytes.
        """
        self._patiently(lambda: self.filesystem.write(self.path(key), data))

    def read(self, key: str) -> bytes:
        """Return the bytes of an object."""
        return self._patiently(lambda: self.filesystem.read(self.path(key)))

    def read_all(self, keys: Iterable[str]) -> list[bytes]:
        """Return the bytes of several objects in the order of ``keys``, read in parallel, since buckets answer slowly."""
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="read") as readers:
            return list(readers.map(self.read, keys))

    def read_found(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of several objects by key, read in parallel; objects that do not exist are left out."""

        def read(key: str) -> tuple[str, bytes | None]:
            try:
                return key, self.read(key)
            except FileNotFoundError:
                return key, None

        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="read") as readers:
            return {key: data for key, data in readers.map(read, keys) if data is not None}

    def exists(self, key: str) -> bool:
        """Return whether an object exists."""
        return self._patiently(lambda: self.filesystem.exists(self.path(key)))

    def version(self, key: str) -> str:
        """Return a text that changes whenever the object's bytes change."""
        return self._patiently(lambda: self.filesystem.version(self.path(key)))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size in bytes of each object below ``prefix``, sorted by key; empty if there is none."""
        found = self._patiently(lambda: self.filesystem.sizes(self.path(prefix).rstrip("/")))
        start = len(self.root) + 1
        return {
            path[start:]: size
            for path, size in sorted(found.items())
            if not path.rpartition("/")[2].startswith(".")  # partly written, or of another program
        }

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all objects below ``prefix``, sorted; empty if there is none."""
        return list(self.sizes(prefix))

    def delete(self, key: str) -> None:
        """Delete an object; no error if the object does not exist."""
        self._patiently(lambda: self.filesystem.delete(self.path(key)))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Delete several objects in parallel."""
        with ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="delete") as workers:
            list(workers.map(self.delete, keys))

    def _patiently(self, request: Callable[[], T]) -> T:
        wait = _Wait(self.filesystem.shown(self.root), self.clock)
        try:
            return request()
        except PassingError as error:
            return self._again(request, error, wait)

    def _again(self, request: Callable[[], T], first: PassingError, wait: _Wait) -> T:
        """Retry a request that has failed once, until the request succeeds or patience is used up."""
        # Imported here: tenacity imports asyncio and ssl, 0.05 CPU seconds, and is needed in an outage only.
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
    """Log of the waiting time of one request, in a few warnings."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._start = clock.monotonic()
        self._next_word = _FIRST_WORD_SECONDS

    @property
    def seconds(self) -> float:
        return self._clock.monotonic() - self._start

    def told_of(self, state: RetryCallState) -> None:
        """Log that an attempt has failed and will be retried, unless the last warning is recent."""
        if self.seconds < self._next_word:
            return
        self._next_word = self.seconds + _NEXT_WORD_SECONDS
        error = state.outcome.exception() if state.outcome else None
        logger.warning(
            "storage %s does not answer; waiting (since %.0f s). Last answer: %s", self._place, self.seconds, error
        )

    def over(self) -> None:
        """Log that storage answers again, if an outage was logged."""
        if self._next_word > _FIRST_WORD_SECONDS:
            logger.warning("storage %s answers again, after %.0f s", self._place, self.seconds)
