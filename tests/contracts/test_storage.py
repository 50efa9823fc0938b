"""What every storage must do alike: a folder, moto, a stand-in for Google's, and Ceph's S3 gateway (marked ``s3``)."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import optuna
import pytest
import torch
from optuna.storages import JournalStorage

from orchestrator.results import ResultWriter, read_reports
from orchestrator.search.journal import ObjectJournal
from orchestrator.storage import SweepStore, find_storage, open_storage, shown
from tests.support.rows import report
from tests.support.tiny import PLACES
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.storage.filesystems import s3
from trainables.storage.object_store import ObjectStore

pytestmark = pytest.mark.parametrize("place", PLACES, indirect=True)


@pytest.fixture
def opened(place: str) -> ObjectStore:
    return open_storage(place)


def test_opening_leaves_nothing_behind(opened: ObjectStore, place: str) -> None:
    assert opened.filesystem.sizes(opened.root) == {}
    assert "?" not in shown(place)


def test_write_read_list_delete(opened: ObjectStore) -> None:
    assert opened.keys("") == []
    assert opened.keys("nothing") == []
    opened.write("a/b=1/x y+%.bin", b"one")
    before = opened.version("a/b=1/x y+%.bin")
    opened.write("a/b=1/x y+%.bin", b"two")
    assert opened.version("a/b=1/x y+%.bin") != before
    opened.write("a/b=1/x y+%.bin", b"two!")
    opened.write("a/z", b"")
    opened.write("ab", b"1")
    assert opened.read("a/b=1/x y+%.bin") == b"two!"
    assert opened.exists("a/z")
    assert not opened.exists("a")
    assert not opened.exists("a/y")
    assert opened.keys("a") == ["a/b=1/x y+%.bin", "a/z"]
    assert opened.sizes("") == {"a/b=1/x y+%.bin": 4, "a/z": 0, "ab": 1}
    assert opened.below("a").keys("b=1") == ["b=1/x y+%.bin"]
    assert opened.read_all(["ab", "a/z"]) == [b"1", b""]
    assert opened.read_found(["ab", "nothing"]) == {"ab": b"1"}
    opened.delete("a/z")
    opened.delete("a/z")
    opened.delete_all(["ab", "nothing"])
    assert opened.keys("") == ["a/b=1/x y+%.bin"]
    for missing in ("a/z", "nothing/at/all"):
        with pytest.raises(FileNotFoundError):
            opened.read(missing)
        with pytest.raises(FileNotFoundError):
            opened.version(missing)


def test_it_travels_to_workers_without_a_secret(opened: ObjectStore) -> None:
    opened.write("key", b"value")
    travelling = pickle.dumps(opened)
    assert b"testsecret" not in travelling
    assert pickle.loads(travelling).read("key") == b"value"


def test_objects_of_several_parts_are_whole(opened: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    data = bytes(range(256)) * (11 * 2**12)
    opened.write("large", data)
    assert opened.read("large") == data
    assert opened.sizes("") == {"large": len(data)}


def test_a_folder_of_more_objects_than_one_answer_holds_is_listed_whole(opened: ObjectStore) -> None:
    names = [f"many/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda name: opened.write(name, b"x"), names))
    assert opened.keys("many") == names
    opened.delete_all(names)
    assert opened.keys("many") == []


def test_results_checkpoints_and_studies_are_found_again(opened: ObjectStore, place: str) -> None:
    writer = ResultWriter(SweepStore(opened, "sweep-a"))
    for done in (10, 20):
        writer.write_report(report(pseudo_batches=done, reported_at=datetime(2026, 1, 1, tzinfo=UTC)))
    checkpoints = CheckpointStore(opened.below("checkpoints"))
    for done in (1, 2, 3):
        checkpoints.save("t0001", done, copy_state({"done": done, "weights": torch.ones(3)}))

    def open_study() -> optuna.Study:
        journal = JournalStorage(ObjectJournal(find_storage(place).below("study")))
        return optuna.create_study(storage=journal, study_name="sweep-a", load_if_exists=True)

    study = open_study()
    study.tell(study.ask(), 0.5)
    again = find_storage(place)
    assert read_reports(again, "sweep-a")["pseudo_batches"].to_pylist() == [10, 20]
    writer.compact()
    assert read_reports(again)["pseudo_batches"].to_pylist() == [10, 20]
    assert len(again.keys("results")) == 1
    state = CheckpointStore(again.below("checkpoints")).load_newest("t0001", warn=print)
    assert state is not None
    assert state["done"] == 3
    assert len(again.keys("checkpoints")) == 2
    assert open_study().best_value == 0.5


def test_a_truncated_checkpoint_is_passed_over_and_a_truncated_result_named(
    opened: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = CheckpointStore(opened.below("checkpoints"))
    for done in (1, 2):
        checkpoints.save("t0001", done, copy_state({"done": done, "weights": torch.ones(3)}))
    newest = "checkpoints/t0001/0000000002.safetensors"
    opened.write(newest, opened.read(newest)[:-2])
    warnings: list[str] = []
    state = checkpoints.load_newest("t0001", warn=warnings.append)
    assert state is not None
    assert (state["done"], len(warnings)) == (1, 1)

    writer = ResultWriter(SweepStore(opened, "sweep-a"))
    for done in (10, 20, 30):
        writer.write_report(report(pseudo_batches=done))
    broken = next(key for key in opened.keys("results") if "0000000200" in key)
    opened.write(broken, opened.read(broken)[:-20])
    for _ in ("as written", "compacted"):
        caplog.clear()
        assert read_reports(opened)["pseudo_batches"].to_pylist() == [10, 30]
        assert f"{opened.shown(broken)} cannot be read and is left out" in caplog.text
        writer.compact()
    assert opened.exists(broken), "what cannot be read is not deleted"
