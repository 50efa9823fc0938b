"""Optuna's history of a sweep, kept on the sweep's storage as a journal.

The study is the truth about the search: which trials were asked for, what they reported, how they ended. It is written
before anything acts on it, so a driver that dies leaves nothing half known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import SweepNotFoundError
from orchestrator.storage import layout, local_path
from trainables.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from orchestrator.search.schedulers import PastReport  # brings Ray, which whoever only reads can do without

CONFIG_ATTRIBUTE = "config"
"""Under which the study keeps a trial's settings, as JSON."""

ASSIGNMENT_ATTRIBUTE = "assignment"
"""Under which it keeps what a trial of a sweep of cases is for."""

DIVERGED_ATTRIBUTE = "diverged"
"""Under which it keeps that a trial has not failed of an error but came to numbers without end, as it would again."""


def open_study(store: ObjectStore, sweep_id: str, *, modes: Iterable[str]) -> optuna.Study:
    """Create or continue the study of a sweep, named after it.

    On a local disk the journal is the one file ``studies/<sweep_id>/journal.log``, which optuna-dashboard opens. On
    other storages each entry is an object, since an object cannot be appended to.

    Args:
        store: The sweep's storage.
        sweep_id: Name of the sweep.
        modes: ``max`` or ``min`` for each objective; none where nothing is compared.
    """
    folder = layout.study_folder(sweep_id)
    path = local_path(store, f"{folder}/journal.log")
    return optuna.create_study(
        storage=JournalStorage(BatchedJournal(_file_backend(path) if path else _gathered(store.below(folder)))),
        study_name=sweep_id,
        directions=["maximize" if mode == "max" else "minimize" for mode in modes] or ["maximize"],
        load_if_exists=True,
    )


def watched_storage(store: ObjectStore, sweep_id: str) -> JournalStorage:
    """The storage of a sweep's study, for another process to look at while the sweep goes on; it writes nothing.

    Raises:
        SweepNotFoundError: there is no study of that sweep.
    """
    folder = layout.study_folder(sweep_id)
    if not store.keys(folder):
        raise SweepNotFoundError(
            f"no study of {sweep_id} in this storage: has it begun? zskt results {sweep_id} tells more"
        )
    path = local_path(store, f"{folder}/journal.log")
    journal = JournalFileBackend(str(path)) if path else ObjectJournal(store.below(folder))
    return JournalStorage(WatchedJournal(journal, sweep_id))


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that will not run again, however they ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))


class WatchedStudy:
    """A sweep's study as it stands, without writing anything. Kept, it reads each time what has come since."""

    def __init__(self, store: ObjectStore, sweep_id: str) -> None:
        self._store = store
        self._sweep_id = sweep_id
        self._study: optuna.Study | None = None

    def trials(self) -> list[FrozenTrial]:
        """All trials so far, running or ended; empty where no study is."""
        try:
            self._study = self._study or optuna.load_study(
                study_name=self._sweep_id, storage=watched_storage(self._store, self._sweep_id)
            )
        except (SweepNotFoundError, KeyError):  # nobody has asked for a trial yet, or the study was deleted
            return []
        return self._study.get_trials(deepcopy=False)


def settings_of_trial(trial: FrozenTrial) -> dict[str, Any]:
    """The config that a trial was given; empty of one that has none yet."""
    settings: dict[str, Any] = json.loads(trial.user_attrs.get(CONFIG_ATTRIBUTE, "{}"))
    return settings


def case_of_trial(trial: FrozenTrial) -> str | None:
    """The case that a trial is for; none in a search."""
    case: str | None = trial.user_attrs.get(ASSIGNMENT_ATTRIBUTE, {}).get("case")
    return case


def past_reports(study: optuna.Study) -> list[PastReport]:
    """All that the study's trials have reported."""
    return [
        (layout.trial_name(trial.number), done, value)
        for trial in study.get_trials(deepcopy=False)
        for done, value in trial.intermediate_values.items()
    ]


def _gathered(store: ObjectStore) -> ObjectJournal:
    journal = ObjectJournal(store)
    journal.gather()
    return journal


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


class BatchedJournal(BaseJournalBackend):
    """A journal that is read once and whose entries of one step are published together. For one writer at a time.

    Asking for a trial makes about ten entries, each of which would wait for the disk, or be an object of its own.
    """

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend = backend
        self._entries = list(backend.read_logs(0))
        self._unpublished: list[dict[str, Any]] = []
        self._together = False

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from that number on."""
        yield from self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Publish entries, at the end of the step if one has begun."""
        self._entries += logs
        self._unpublished += logs
        if not self._together:
            self._publish()

    @contextmanager
    def together(self) -> Iterator[None]:
        """One step: what is appended within is published at its end."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            self._publish()

    def _publish(self) -> None:
        if self._unpublished:
            self._backend.append_logs(self._unpublished)
            self._unpublished = []


@contextmanager
def one_step(study: optuna.Study) -> Iterator[None]:
    """Publish together what happens to a study within."""
    journal = getattr(study._storage, "_backend", None)
    with journal.together() if isinstance(journal, BatchedJournal) else nullcontext():
        yield


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


_GATHERED_FROM = 100
"""Objects of a journal from which it is worth gathering them in one."""


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
            self._entries, self._seen = [], {}  # the writer has gathered them
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

    def gather(self) -> None:
        """Make one object of many, as the writer, before it goes on.

        The new one is complete before the first old one goes; entries that are there twice have the same numbers.
        """
        entries = list(self.read_logs(0))
        old = list(self._seen)
        if len(old) >= _GATHERED_FROM:
            self._write(0, entries)
            self._store.delete_all(old[1:])
            self._seen = {key: size for key, size in self._seen.items() if key == old[0]}

    def _write(self, first: int, entries: list[dict[str, Any]]) -> None:
        key, data = f"journal/{first:08d}.json", json.dumps(entries).encode()
        self._store.write(key, data)
        self._seen[key] = len(data)
