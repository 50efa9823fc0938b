from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage

from orchestrator.errors import SweepNotFoundError
from orchestrator.search.journal import BatchedJournal, ObjectJournal
from orchestrator.search.study import SweepStudy, open_study, watched_storage
from orchestrator.storage import SweepStore
from trainables.storage.object_store import ObjectStore

Open = Callable[[], optuna.Study]


@pytest.fixture(params=["one file", "objects"])
def open_again(request: pytest.FixtureRequest, store: ObjectStore) -> Open:
    """Each journal opens its study anew at each call, as a new process would."""
    if request.param == "one file":
        return lambda: open_study(SweepStore(store, "sweep-a"), modes=["min"])
    return lambda: optuna.create_study(
        storage=JournalStorage(BatchedJournal(ObjectJournal(store))),
        study_name="sweep-a",
        direction="minimize",
        load_if_exists=True,
    )


def test_a_study_is_found_again_as_it_was(open_again: Open) -> None:
    study = open_again()
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.report(0.5, 3)
    trial.set_user_attr("config", "{}")
    study.tell(trial, 0.25)
    study.ask()
    again = open_again()
    assert again.study_name == "sweep-a"
    assert [t.state for t in again.trials] == [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.RUNNING]
    assert again.trials[0].params == trial.params
    assert again.trials[0].intermediate_values == {3: 0.5}
    assert again.trials[0].user_attrs == {"config": "{}"}
    again.tell(1, 0.1)
    assert open_again().best_value == 0.1


def test_a_transaction_is_published_at_once_and_read_before(store: ObjectStore) -> None:
    objects = ObjectJournal(store)
    journal = BatchedJournal(objects)
    study = SweepStudy.create("sweep-a", JournalStorage(journal), modes=["max"], journal=journal)
    published = len(store.keys("journal"))
    with study.transaction():
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("config", "{}")
        assert study.trials[0].user_attrs == {"config": "{}"}
        assert len(store.keys("journal")) == published
    assert len(store.keys("journal")) == published + 1
    study.tell(trial, 1.0)
    assert len(store.keys("journal")) == published + 2


def test_whoever_watches_sees_a_sweep_go_on(store: ObjectStore) -> None:
    running = optuna.create_study(storage=JournalStorage(BatchedJournal(ObjectJournal(store))), study_name="sweep-a")
    watched = optuna.load_study(storage=JournalStorage(ObjectJournal(store)), study_name="sweep-a")
    for number in range(3):
        running.tell(running.ask(), number)
        assert [trial.value for trial in watched.trials] == list(range(number + 1))


def test_a_sweep_without_a_study_cannot_be_watched(store: ObjectStore) -> None:
    open_study(SweepStore(store, "sweep-a"), modes=["max"]).ask()
    watched = optuna.load_study(storage=watched_storage(SweepStore(store, "sweep-a")), study_name="sweep-a")
    assert len(watched.trials) == 1
    with pytest.raises(SweepNotFoundError, match="no study of sweep-b"):
        watched_storage(SweepStore(store, "sweep-b"))


def test_whoever_watches_changes_nothing(store: ObjectStore) -> None:
    running = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    first = running.ask()
    watched = optuna.load_study(storage=watched_storage(SweepStore(store, "sweep-a")), study_name="sweep-a")
    for change in (
        lambda: watched.tell(0, 0.5),
        lambda: watched.set_user_attr("note", "a lucky one"),
        lambda: optuna.delete_study(study_name="sweep-a", storage=watched._storage),
    ):
        with pytest.raises(PermissionError, match="the study of sweep-a is read only here"):
            change()
    running.tell(first, 0.7)
    for seen in (watched, open_study(SweepStore(store, "sweep-a"), modes=["max"])):
        assert [trial.value for trial in seen.trials] == [0.7]
        assert seen.user_attrs == {}


def test_sweeps_do_not_share_a_study(store: ObjectStore) -> None:
    open_study(SweepStore(store, "sweep-a"), modes=["max"]).ask()
    assert not open_study(SweepStore(store, "sweep-b"), modes=["max"]).trials


@pytest.mark.parametrize("cut", [1, 5])
def test_a_line_torn_by_a_killed_driver_is_dropped(cut: int, store: ObjectStore) -> None:
    study = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    study.tell(study.ask(), 0.5)
    study.ask()
    journal = Path(store.path("studies/sweep-a/journal.log"))
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    again.tell(again.ask(), 0.7)
    final = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    assert [t.value for t in final.trials if t.value is not None] == [0.5, 0.7]


def test_a_long_journal_of_objects_is_compacted_and_a_crash_in_between_changes_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.journal._COMPACTED_FROM", 10)
    journal = ObjectJournal(store)
    entries = [{"number": number} for number in range(30)]
    for entry in entries[:20]:
        journal.append_logs([entry])

    def delete_some(_: ObjectStore, keys: list[str]) -> None:
        for key in keys[::3]:
            store.delete(key)

    with monkeypatch.context() as crashing:
        # The new object is there, and most of the old ones still are.
        crashing.setattr(ObjectStore, "delete_all", delete_some)
        ObjectJournal(store).compact()
    assert len(store.keys("journal")) == 13
    reader = ObjectJournal(store)
    assert list(reader.read_logs(0)) == entries[:20]
    compacted = ObjectJournal(store)
    compacted.compact()
    assert list(compacted.read_logs(0)) == entries[:20]
    assert store.keys("journal") == ["journal/00000000.json"]
    compacted.append_logs(entries[20:25])
    assert list(reader.read_logs(15)) == entries[15:25], "who was looking while it was compacted"
    compacted.append_logs(entries[25:])
    assert list(ObjectJournal(store).read_logs(18)) == entries[18:]
