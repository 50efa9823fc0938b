"""Optuna's history of a sweep, kept on the sweep's storage as a journal.

The study is the truth about the search: which trials were asked for, what they reported, how they ended. It is written
before anything acts on it, so a driver that dies leaves nothing half known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from orchestrator.results import keys
from orchestrator.schedulers import PastReport
from orchestrator.storage import local_path
from trainables.object_store import ObjectStore


def open_study(store: ObjectStore, sweep_id: str, *, mode: str) -> optuna.Study:
    """Create or continue the study of a sweep, named after it.

    On a local disk the journal is the one file ``studies/<sweep_id>/journal.log``, which optuna-dashboard opens. On
    other storages each entry is an object, since an object cannot be appended to.
    """
    folder = keys.study_folder(sweep_id)
    path = local_path(store, f"{folder}/journal.log")
    return optuna.create_study(
        storage=JournalStorage(_file_backend(path) if path else ObjectJournal(store.below(folder))),
        study_name=sweep_id,
        direction="maximize" if mode == "max" else "minimize",
        load_if_exists=True,
    )


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that will not run again, however they ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))


def past_reports(study: optuna.Study) -> list[PastReport]:
    """All that the study's trials have reported."""
    return [
        (keys.trial_name(trial.number), done, value)
        for trial in study.get_trials(deepcopy=False)
        for done, value in trial.intermediate_values.items()
    ]


def _file_backend(path: Path) -> JournalFileBackend:
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


_GATHERED_FROM = 100
"""Objects of a journal from which it is worth gathering them in one."""


class ObjectJournal(BaseJournalBackend):
    """Optuna's journal as numbered objects. For one writer at a time, as a sweep has.

    An object holds the entries of one write and is named after the first entry's number, so that writing it again, after an
    answer that got lost, changes nothing. A journal of many objects is gathered into one when it is opened: the new object
    is complete before the first old one goes, and entries that are there twice have the same numbers.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        keys_read = store.keys("journal")
        self._entries: list[dict[str, Any]] = []
        for key, data in zip(keys_read, store.read_all(keys_read), strict=True):
            first = int(key.rpartition("/")[2].partition(".")[0])
            entries = json.loads(data)
            self._entries[first : first + len(entries)] = entries
        if len(keys_read) >= _GATHERED_FROM:
            self._write(0, self._entries)
            store.delete_all(keys_read[1:])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from that number on."""
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        """Publish entries, then show them to readers."""
        entries = list(logs)
        self._write(len(self._entries), entries)
        self._entries += entries

    def _write(self, first: int, entries: list[dict[str, Any]]) -> None:
        self._store.write(f"journal/{first:08d}.json", json.dumps(entries).encode())
