"""Optuna's study of a sweep, stored as a journal on the sweep's storage.

The study is the authoritative record of the search: which trials were created, what they reported, how they ended. Each
change is stored before anything depends on it, so a driver that dies leaves no inconsistent state.
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
"""User attribute of a trial that holds the trial's config as JSON."""

ASSIGNMENT_ATTRIBUTE = "assignment"
"""User attribute of a trial that holds the trial's case and seed in a sweep of cases."""

DIVERGED_ATTRIBUTE = "diverged"
"""User attribute of a failed trial that is set if the trial diverged (infinite or NaN values), as it would again."""


class SweepStudy(optuna.Study):
    """The study of one sweep, with its storage and the journal to which the storage writes.

    Optuna's own ``Study`` cannot resume a trial of an earlier process, store a report in a study with several objectives, or
    publish several steps together.
    """

    def __init__(self, name: str, storage: BaseStorage, journal: BatchedJournal | None = None) -> None:
        """Open an existing study.

        Args:
            name: Name of the study.
            storage: Optuna's storage of the study.
            journal: Journal to which the storage writes. None means that each step is published by itself.
        """
        super().__init__(name, storage)
        self.storage = storage
        self._journal = journal
        self._id = storage.get_study_id_from_name(name)

    @classmethod
    def create(
        cls, name: str, storage: BaseStorage, *, modes: Iterable[str], journal: BatchedJournal | None = None
    ) -> SweepStudy:
        """Create a study, or open the existing study of that name.

        Args:
            name: Name of the study.
            storage: Optuna's storage of the study.
            modes: ``max`` or ``min`` for each objective; empty if nothing is compared.
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
        """Publish all changes to the study within the block together."""
        with self._journal.batched() if self._journal else nullcontext():
            yield

    def frozen(self, number: int) -> FrozenTrial:
        """Return a trial's current state in the study."""
        return self.storage.get_trial(self._id_of(number))

    def resume(self, number: int) -> optuna.Trial:
        """Return a trial that was created earlier and has not ended, so that it can be resumed."""
        return optuna.Trial(self, self._id_of(number))

    def keep_report(self, number: int, done: int, value: float) -> None:
        """Store a trial's objective after ``done`` of its budget, unless a value for that budget is stored already.

        ``Trial.report`` does the same but refuses studies with several objectives.
        """
        if done not in self.frozen(number).intermediate_values:
            self.storage.set_trial_intermediate_value(self._id_of(number), done, value)

    def _id_of(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._id, number)


def open_study(sweep_store: SweepStore, *, modes: Iterable[str]) -> SweepStudy:
    """Create or open the study of a sweep, whose name is the sweep's id.

    On a local disk the journal is the single file ``studies/<sweep_id>/journal.log``, which optuna-dashboard opens. On
    other storages each write is an object of its own, since an object cannot be appended to.

    Args:
        sweep_store: The sweep.
        modes: ``max`` or ``min`` for each objective; empty if nothing is compared.
    """
    folder = sweep_store.study
    path = local_path(folder, "journal.log")
    journal = BatchedJournal(file_journal(path) if path else compacted_journal(folder))
    return SweepStudy.create(sweep_store.sweep_id, JournalStorage(journal), modes=modes, journal=journal)


def watched_storage(sweep_store: SweepStore) -> JournalStorage:
    """Return a read-only storage of a sweep's study, for other processes that read it while the sweep runs.

    Raises:
        SweepNotFoundError: the sweep has no study.
    """
    folder, sweep_id = sweep_store.study, sweep_store.sweep_id
    if not folder.keys(""):
        raise SweepNotFoundError(
            f"no study of {sweep_id} in this storage: has the sweep started? zskt results {sweep_id} tells more"
        )
    path = local_path(folder, "journal.log")
    journal = JournalFileBackend(str(path)) if path else ObjectJournal(folder)
    return JournalStorage(WatchedJournal(journal, sweep_id))


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have ended, in any state."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))


def running_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were created and have not ended, as far as the study records."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def assignment_of(trial: FrozenTrial | optuna.Trial) -> Assignment | None:
    """Return the case and seed of a trial; None in a search, or if the driver died before the trial got a case."""
    kept = trial.user_attrs.get(ASSIGNMENT_ATTRIBUTE)
    return Assignment(**kept) if kept else None


class WatchedStudy:
    """Read-only view of a sweep's study. Repeated calls read only what has been added since."""

    def __init__(self, sweep_store: SweepStore) -> None:
        self._sweep_store = sweep_store
        self._study: optuna.Study | None = None

    def trials(self) -> list[FrozenTrial]:
        """Return all trials so far, running or ended; an empty list if there is no study."""
        try:
            self._study = self._study or optuna.load_study(
                study_name=self._sweep_store.sweep_id, storage=watched_storage(self._sweep_store)
            )
        except (SweepNotFoundError, KeyError):  # no trial has been created yet, or the study was deleted
            return []
        return self._study.get_trials(deepcopy=False)


def settings_of_trial(trial: FrozenTrial) -> dict[str, Any]:
    """Return the settings of a trial; empty if the trial has none yet."""
    settings: dict[str, Any] = json.loads(trial.user_attrs.get(CONFIG_ATTRIBUTE, "{}"))
    return settings


def case_of_trial(trial: FrozenTrial) -> str | None:
    """Return the name of a trial's case; None in a search."""
    case: str | None = trial.user_attrs.get(ASSIGNMENT_ATTRIBUTE, {}).get("case")
    return case


def past_reports(study: optuna.Study) -> list[PastReport]:
    """Return all reports of the study's trials."""
    return [
        (layout.trial_name(trial.number), done, value)
        for trial in study.get_trials(deepcopy=False)
        for done, value in trial.intermediate_values.items()
    ]
