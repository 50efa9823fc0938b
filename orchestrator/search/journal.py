"""The journals in which a sweep's study is kept: a file on a local disk, numbered objects elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from trainables.storage.object_store import ObjectStore


def compacted_journal(store: ObjectStore) -> ObjectJournal:
    """Open the journal of a storage without files, for its writer: its objects are compacted into one if they are many."""
    journal = ObjectJournal(store)
    journal.compact()
    return journal


def file_journal(path: Path) -> JournalFileBackend:
    """Open or begin a journal on a local disk, for its writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _drop_torn_line(path)
    return JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line without its end, left by a driver killed while writing: the next entry would run into it."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


class BatchedJournal(BaseJournalBackend):
    """A journal that is read once and publishes the entries of one transaction together. For one writer at a time.

    Asking for a trial makes about ten entries, each of which would wait for the disk, or be an object of its own.
    """

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend = backend
        self._entries = list(backend.read_logs(0))
        self._unpublished: list[dict[str, Any]] = []
        self._batched = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from that number on."""
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Publish entries, at the end of the transaction if one has begun."""
        self._entries += logs
        self._unpublished += logs
        if not self._batched:
            self._publish()

    @contextmanager
    def batched(self) -> Iterator[None]:
        """Publish what is appended within the block at its end."""
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
    """A journal that is only read.

    Its writer numbers entries without looking whether another process has written any: one more would be overwritten, or
    all later ones be read with wrong numbers.
    """

    def __init__(self, backend: BaseJournalBackend, sweep_id: str) -> None:
        self._backend = backend
        self._sweep_id = sweep_id

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Entries from that number on, with those that the writer has published meanwhile."""
        return self._backend.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Raises: PermissionError: always."""
        raise PermissionError(
            f"the study of {self._sweep_id} is read only here: the sweep alone writes it, and what another process changed "
            "(a note, a trial's end, a deletion) would damage it"
        )


_COMPACTED_FROM = 100
"""Objects of a journal from which it is worth compacting them into one."""


class ObjectJournal(BaseJournalBackend):
    """Optuna's journal as numbered objects. For one writer at a time, as a sweep has, and any number of readers.

    An object holds the entries of one write and is named after the first entry's number, so that writing it again, after an
    answer that got lost, changes nothing.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._entries: list[dict[str, Any]] = []
        self._seen: dict[str, int] = {}

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from that number on, with those that another process has published meanwhile."""
        found = self._store.sizes("journal")
        if any(found.get(key) != size for key, size in self._seen.items()):
            self._entries, self._seen = [], {}  # the writer has compacted them
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
        """Make one object of many, as the writer, before it goes on.

        The new one is complete before the first old one goes; entries that are there twice have the same numbers.
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
