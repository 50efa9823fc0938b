from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest
import ray

from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY
from cluster.credentials import KEYS, lend_credentials, no_credentials
from cluster.private_folder import VARIABLE


def keys_after_borrowing(borrow: object, own: dict[str, str]) -> dict[str, str | None]:
    """What a process on a node with these variables has."""
    for name in KEYS:
        os.environ.pop(name, None)
    os.environ.update(own)
    try:
        assert callable(borrow)
        borrow()
        return {name: os.environ.get(name) for name in KEYS}
    finally:
        for name in own:
            os.environ.pop(name, None)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_only_processes_without_credentials_of_their_own_take_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
    borrow = lend_credentials()
    asked = ray.remote(keys_after_borrowing)
    assert ray.get(asked.remote(borrow, {})) == {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": "for an hour",
    }
    assert ray.get(asked.remote(borrow, {"AWS_PROFILE": "of this node"})) == dict.fromkeys(KEYS)
    own = {"AWS_ACCESS_KEY_ID": "of", "AWS_SECRET_ACCESS_KEY": "this node"}
    assert ray.get(asked.remote(borrow, own)) == {**dict.fromkeys(KEYS), **own}


def test_a_driver_without_keys_lends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert lend_credentials() is no_credentials


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_keys_that_were_lent_are_on_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = uuid4().hex
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    borrow = lend_credentials()
    asked = ray.remote(keys_after_borrowing)
    assert ray.get(asked.remote(borrow, {}))["AWS_SECRET_ACCESS_KEY"] == secret
    files = [path for path in Path(os.environ[VARIABLE]).rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files), "Ray's logs are among them"
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
