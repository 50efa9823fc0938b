from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.results import ResultWriter
from orchestrator.search.recovery import restore_rows
from orchestrator.storage import SweepStore
from tests.support.sessions import SWEEP, Session
from trainables.storage.object_store import ObjectStore


@pytest.fixture
def session(store: ObjectStore, tmp_path: Path) -> Session:
    """Four trials that ended in every way, and one that runs."""
    session = Session(store)
    for done, diverged in ((4, False), (2, False), (2, True)):
        trial = session.start()
        session.report(trial, done, diverged=diverged, validation_accuracy=0.1 * done)
        session.recorder.on_trial_complete(0, [], trial)
    return session


def comparable(session: Session) -> list[dict[str, object]]:
    return [
        {name: value for name, value in row.items() if name not in {"ended_at", "recoveries"}} for row in session.rows()
    ]


@pytest.mark.parametrize("compacted", [False, True])
def test_truncated_rows_are_written_again_as_they_were(compacted: bool, session: Session) -> None:
    store, before = session.store, comparable(session)
    if compacted:
        ResultWriter(SweepStore(store, "sweep-a")).compact()
    (key, *_) = store.keys("results/v1/trials")
    store.write(key, store.read(key)[:-30])
    assert len(session.rows()) == (0 if compacted else 2)
    said: list[str] = []
    restore_rows(SweepStore(store, "sweep-a"), session.study, SWEEP, say=said.append)
    after = comparable(session)
    if compacted:  # where no row is left, none says which teacher it was
        for row in (*before, *after):
            for name in ("teacher_sha256", "teacher_validation_accuracy", "teacher_test_accuracy"):
                del row[name]
    assert after == before
    assert key in said[0]
    assert "t0000: its row was lost and has been written again" in said[1]
    again: list[str] = []
    restore_rows(SweepStore(store, "sweep-a"), session.study, SWEEP, say=again.append)
    assert again == []


def test_a_row_whose_report_is_lost_too_is_said_to_be(session: Session) -> None:
    store = session.store
    for table in ("trials", "reports"):
        (key, *_) = store.keys(f"results/v1/{table}")
        store.write(key, b"PAR1")
    said: list[str] = []
    restore_rows(SweepStore(store, "sweep-a"), session.study, SWEEP, say=said.append)
    assert said[1:] == ["t0000: its row is lost, and its last report too"]
    assert len(session.rows()) == 2
