from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from trainables.storage.object_store import ObjectStore


def test_write_read_list_delete(store: ObjectStore) -> None:
    assert store.keys("") == []
    store.write("a/b=1/x y.bin", b"one")
    store.write("a/b=1/x y.bin", b"two")
    store.write("a/z", b"")
    assert store.read("a/b=1/x y.bin") == b"two"
    assert store.exists("a/z")
    assert not store.exists("a")
    assert store.keys("a") == ["a/b=1/x y.bin", "a/z"]
    assert store.below("a").keys("b=1") == ["b=1/x y.bin"]
    store.delete("a/z")
    store.delete("a/z")
    assert store.keys("") == ["a/b=1/x y.bin"]
    with pytest.raises(FileNotFoundError):
        store.read("a/z")


def test_it_travels_to_workers(store: ObjectStore) -> None:
    store.write("key", b"value")
    assert pickle.loads(pickle.dumps(store)).read("key") == b"value"


def test_a_write_that_fails_leaves_the_old_object_and_no_remains(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("key", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.write("key", b"new")
    assert store.read("key") == b"old"
    assert [path.name for path in Path(store.root).iterdir()] == ["key"]


def test_a_file_is_on_the_disk_before_it_has_its_name(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append("folder" if path.is_dir() else f"file, object is there: {store.exists('key')}")

    monkeypatch.setattr("os.fsync", fsync)
    store.write("key", b"value")
    assert synced == ["file, object is there: False", "folder"]


def test_an_unfinished_object_is_not_listed(store: ObjectStore) -> None:
    store.write("folder/key", b"value")
    Path(store.root, "folder", ".key.123").write_bytes(b"half")
    assert store.keys("folder") == ["folder/key"]
