from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, StorageError, SweepBusyError
from orchestrator.loading import load_sweep
from orchestrator.lock import sweep_lock
from orchestrator.storage import find_storage, local_path, open_storage, shown
from trainables.object_store import ObjectStore


def test_a_folder_is_made_and_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_storage("./new/runs")
    assert store.root == str(tmp_path / "new" / "runs")
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    assert open_storage(f"file://{tmp_path}/other").root == str(tmp_path / "other")
    assert local_path(store, "a/b") == tmp_path / "new" / "runs" / "a" / "b"


def test_a_place_that_cannot_be_used_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="storage .*/file/runs cannot be written to"):
        open_storage(str(tmp_path / "file" / "runs"))
    with pytest.raises(StorageError, match="is not an address that can be opened"):
        open_storage("nonsense://bucket/x")


def test_looking_creates_nothing(tmp_path: Path) -> None:
    find_storage(str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_keys_in_an_address_are_refused_and_queries_not_shown() -> None:
    assert shown("s3://bucket/prefix?endpoint_override=x&secret_key=y") == "s3://bucket/prefix"
    assert shown("./runs?") == "./runs?"
    with pytest.raises(ConfigError, match="storage: the address holds a key") as caught:
        load_sweep("quickstart", flags={"storage": "s3://id:secret@bucket/prefix"})
    assert "secret" not in str(caught.value)
    load_sweep("quickstart", flags={"storage": "file:///data/me@host/runs"})


_HOLD = """
import sys
from orchestrator.lock import sweep_lock
from orchestrator.storage import open_storage
with sweep_lock(open_storage(sys.argv[1]), "sweep-a"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_sweep_has_one_driver_until_it_dies(store: ObjectStore) -> None:
    command = [sys.executable, "-c", _HOLD, store.root]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(SweepBusyError, match=f"sweep sweep-a is being run by process {holder.pid};"),
        sweep_lock(store, "sweep-a"),
    ):
        pass
    with sweep_lock(store, "sweep-b"):
        pass
    holder.kill()
    holder.communicate()
    with sweep_lock(store, "sweep-a"):
        pass
