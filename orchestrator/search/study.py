"""Optuna's history of a sweep, kept on the sweep's storage as a journal.

The study is the truth about the search: which trials were asked for, what they reported, how they ended. It is written
before anything acts on it, so a driver that dies leaves nothing half known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from orchestrator.config import Assignment
from orchestrator.errors import SweepNotFoundError
from orchestrator.schedulers.base import PastReport
from orchestrator.search.journal import BatchedJournal, ObjectJournal, WatchedJournal, compacted_journal, file_journal
from orchestrator.storage import SweepStore, layout, local_path

CONFIG_ATTRIBUTE = "config"
"""Under which the study keeps a trial's settings, as JSON."""

ASSIGNMENT_ATTRIBUTE = "assignment"
"""Under which it keeps what a trial of a sweep of cases is for."""

DIVERGED_ATTRIBUTE = "diverged"
"""Under which it keeps that a trial has not failed of an error but came to numbers without end, as it would again."""


class SweepStudy(optuna.Study):
    """The study of one sweep, with its storage and the journal that the storage keeps.

    Optuna's own ``Study`` cannot go on with a trial of an earlier process, keep one report of a trial with several
    objectives, or publish several steps as one.
    """

    def __init__(self, name: str, storage: BaseStorage, journal: BatchedJournal | None = None) -> None:
        """Open a study that the storage has.

        Args:
            name: The study's.
            storage: Optuna's.
            journal: What the storage writes to. Defaults to none: each step is published by itself.
        """
        super().__init__(name, storage)
        self.storage = storage
        self._journal = journal
        self._id = storage.get_study_id_from_name(name)

    @classmethod
    def create(
        cls, name: str, storage: BaseStorage, *, modes: Iterable[str], journal: BatchedJournal | None = None
    ) -> SweepStudy:
        """Create a study, or continue the one of that name.

        Args:
            name: The study's.
            storage: Optuna's.
            modes: ``max`` or ``min`` for each objective; none where nothing is compared.
            journal: See ``__init__``.
        """
        optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize" if mode == "max" else "minimize" for mode in modes] or ["maximize"],
            load_if_exists=True,
        )
        return cls(name, storage, journal)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Publish together what happens to the study within the block."""
        with self._journal.batched() if self._journal else nullcontext():
            yield

    def frozen(self, number: int) -> FrozenTrial:
        """Return a trial as it stands."""
        return self.storage.get_trial(self._id_of(number))

    def resume(self, number: int) -> optuna.Trial:
        """Return a trial that was asked for and has not ended."""
        return optuna.Trial(self, self._id_of(number))

    def keep_report(self, number: int, done: int, value: float) -> None:
        """Keep the objective of a trial after so much of its budget; the first that comes counts.

        It is what ``Trial.report`` does, which declines where there are several objectives.
        """
        if done not in self.frozen(number).intermediate_values:
            self.storage.set_trial_intermediate_value(self._id_of(number), done, value)

    def _id_of(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)


def open_study(sweep_store: SweepStore, *, modes: Iterable[str]) -> SweepStudy:
    """Create or continue the study of a sweep, named after it.

    On a local disk the journal is the one file ``studies/<sweep_id>/journal.log``, which optuna-dashboard opens. On
    other storages each entry is an object, since an object cannot be appended to.

    Args:
        sweep_store: The sweep.
        modes: ``max`` or ``min`` for each objective; none where nothing is compared.
    """
    folder = sweep_store.study
    path = local_path(folder, "journal.log")
    journal = BatchedJournal(file_journal(path) if path else compacted_journal(folder))
    return SweepStudy.create(sweep_store.sweep_id, JournalStorage(journal), modes=modes, journal=journal)


def watched_storage(sweep_store: SweepStore) -> JournalStorage:
    """The storage of a sweep's study, for another process to look at while the sweep goes on; it writes nothing.

    Raises:
        SweepNotFoundError: there is no study of that sweep.
    """
    folder, sweep_id = sweep_store.study, sweep_store.sweep_id
    if not folder.keys(""):
        raise SweepNotFoundError(
            f"no study of {sweep_id} in this storage: has it begun? zskt results {sweep_id} tells more"
        )
    path = local_path(folder, "journal.log")
    journal = JournalFileBackend(str(path)) if path else ObjectJournal(folder)
    return JournalStorage(WatchedJournal(journal, sweep_id))


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that will not run again, however they ended."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))


def running_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were asked for and have not ended, as far as the study knows."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def assignment_of(trial: FrozenTrial | optuna.Trial) -> Assignment | None:
    """Which case and seed a trial is for; none in a search, or if its driver died before it was settled."""
    kept = trial.user_attrs.get(ASSIGNMENT_ATTRIBUTE)
    return Assignment(**kept) if kept else None


class WatchedStudy:
    """A sweep's study as it stands, without writing anything. Kept, it reads each time what has come since."""

    def __init__(self, sweep_store: SweepStore) -> None:
        self._sweep_store = sweep_store
        self._study: optuna.Study | None = None

    def trials(self) -> list[FrozenTrial]:
        """All trials so far, running or ended; empty where no study is."""
        try:
            self._study = self._study or optuna.load_study(
                study_name=self._sweep_store.sweep_id, storage=watched_storage(self._sweep_store)
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
