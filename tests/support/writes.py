"""Counts what is written to a local storage, objects and entries of the journal, and may let a write fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from trainables.storage.filesystems import LocalFilesystem

JOURNAL = "journal"
"""What ``before_each_write`` is told of an entry of the journal, in place of an object's path."""


def before_each_write(monkeypatch: pytest.MonkeyPatch, count: Callable[[str], None]) -> None:
    """Call ``count`` with the path before each object is written, and with ``JOURNAL`` before each entry of a journal.

    What it raises takes the place of the write.
    """
    write, append = LocalFilesystem.write, JournalFileBackend.append_logs

    def write_object(filesystem: LocalFilesystem, path: str, data: bytes) -> None:
        count(path)
        write(filesystem, path, data)

    def append_entries(journal: JournalFileBackend, entries: list[dict[str, Any]]) -> None:
        count(JOURNAL)
        append(journal, entries)

    monkeypatch.setattr(os, "fsync", lambda file: None)  # no machine loses power here
    monkeypatch.setattr(LocalFilesystem, "write", write_object)
    monkeypatch.setattr(JournalFileBackend, "append_logs", append_entries)
