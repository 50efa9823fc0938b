"""The journals that store a sweep's study: a file on a local disk, or numbered objects in an object store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from trainables.storage.object_store import ObjectStore


def compacted_journal(store: ObjectStore) -> ObjectJournal:
    """Open a journal in an object store for its writer, and compact its objects into one if there are many."""
    journal = ObjectJournal(store)
    journal.compact()
    return journal


def file_journal(path: Path) -> JournalFileBackend:
    """Open or create a journal on a local disk for its writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _drop_torn_line(path)
    return JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))


def _drop_torn_line(path: Path) -> None:
    """Cut off an incomplete last line, left by a driver killed while writing, which would spoil the next entry."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


class BatchedJournal(BaseJournalBackend):
    """A journal that reads its backend once and publishes a transaction's entries together. For one writer at a time.

    Creating a trial makes about ten entries, each of which would otherwise wait for the disk or become an object of its own.
    """

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend = backend
        self._entries = list(backend.read_logs(0))
        self._unpublished: list[dict[str, Any]] = []
        self._batched = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return the entries from a number on."""
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Publish entries at once or, within a transaction, at its end."""
        self._entries += logs
        self._unpublished += logs
        if not self._batched:
            self._publish()

    @contextmanager
    def batched(self) -> Iterator[None]:
        """Publish all entries appended within the block at the end of the block."""
        self._batched = True
        try:
            yield
        finally:
            self._batched = False
            self._publish()

    def _publish(self) -> None:
        if self._unpublished:
            self._backend.append_logs(self._unpublished)
            self._unpublished = []


class WatchedJournal(BaseJournalBackend):
    """A read-only journal.

    The sweep numbers its entries without checking whether another process has written any. So an entry of another process
    would be overwritten, or shift the numbers of all later entries.
    """

    def __init__(self, backend: BaseJournalBackend, sweep_id: str) -> None:
        self._backend = backend
        self._sweep_id = sweep_id

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the entries from a number on, including entries published since the last call."""
        return self._backend.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Raise PermissionError, since only the sweep may write."""
        raise PermissionError(
            f"the study of {self._sweep_id} is read only here: only the sweep may write to it, and changes by other "
            "processes (a note, a trial's end, a deletion) would damage it"
        )


_COMPACTED_FROM = 100
"""Number of objects in a journal from which they are compacted into one."""


class ObjectJournal(BaseJournalBackend):
    """Optuna's journal as numbered objects, for one writer at a time (the sweep) and any number of readers.

    An object holds the entries of one write and is named after the number of its first entry, so that repeating the write,
    after the answer was lost, changes nothing.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._entries: list[dict[str, Any]] = []
        self._seen: dict[str, int] = {}

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return the entries from a number on, including entries that another process has published since."""
        found = self._store.sizes("journal")
        if any(found.get(key) != size for key, size in self._seen.items()):
            self._entries, self._seen = [], {}  # the writer has compacted the journal
        new = [key for key in found if key not in self._seen]
        for key, data in zip(new, self._store.read_all(new), strict=True):
            first, entries = int(key.rpartition("/")[2].partition(".")[0]), json.loads(data)
            self._entries[first : first + len(entries)] = entries
        self._seen = found
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Publish entries as one object."""
        self._write(len(self._entries), logs)
        self._entries += logs

    def compact(self) -> None:
        """Merge the objects into one if there are many. To be called by the writer before it appends entries.

        The new object is complete before the first old object is deleted. Entries that are stored twice in between have the
        same numbers.
        """
        entries = list(self.read_logs(0))
        old = list(self._seen)
        if len(old) >= _COMPACTED_FROM:
            self._write(0, entries)
            self._store.delete_all(old[1:])
            self._seen = {key: size for key, size in self._seen.items() if key == old[0]}

    def _write(self, first: int, entries: list[dict[str, Any]]) -> None:
        key, data = f"journal/{first:08d}.json", json.dumps(entries).encode()
        self._store.write(key, data)
        self._seen[key] = len(data)
