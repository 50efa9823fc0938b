from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from cluster import session
from cluster.capacity import Capacity, NodeType
from cluster.session import NoClusterError, ray_session


@pytest.fixture(autouse=True)
def _not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests of this process have left running."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)


def test_an_address_where_nobody_answers_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        start = time.monotonic()
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(NoClusterError, match=f"no Ray cluster answers at {address}"), ray_session(address):
                pass
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(NoClusterError), ray_session():
            pass
    assert time.monotonic() - start < 8


def refuse_local_settings(address: str | None) -> None:
    raise ValueError(
        "When connecting to an existing cluster, num_cpus and num_gpus must not be provided."
    )  # Ray's words


def test_a_cluster_that_ray_start_joined_and_that_is_gone_is_known_in_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{unused.getsockname()[1]}"
        record = tmp_path / "ray_current_cluster"
        record.write_text(gone)
        monkeypatch.setattr("ray._private.utils.get_ray_address_file", lambda temp_dir: str(record))
        monkeypatch.setattr(session, "_start_local", refuse_local_settings)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(NoClusterError, match=f"{gone}.*`ray stop` forgets"), ray_session():
            pass


def test_machines_that_ray_up_does_not_wait_for_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    description = {"provider": {"type": "local", "head_ip": "192.0.2.10", "worker_ips": ["192.0.2.11", "192.0.2.12"]}}
    clock = {"now": 0.0}
    joined = {"after": 3.0}

    def there() -> Capacity:
        return Capacity(fixed=[NodeType(count=3 if clock["now"] >= joined["after"] else 1, cpus=1, gpus=0)])

    def sleep(seconds: float) -> None:
        clock["now"] += seconds

    monkeypatch.setattr(session, "_capacity", there)
    monkeypatch.setattr("cluster.session.time.sleep", sleep)
    monkeypatch.setattr("cluster.session.time.monotonic", lambda: clock["now"])
    with caplog.at_level("WARNING", logger="zskt.cluster"):
        session._wait_for_machines(description)
    assert clock["now"] == 3.0
    assert "2 of the cluster's machines have not joined yet; waiting up to 300 s" in caplog.text
    joined["after"] = 1e9
    session._wait_for_machines(description)
    assert clock["now"] == 303.0  # one that never comes costs no more than that
    session._wait_for_machines({"provider": {"type": "aws"}})
    assert clock["now"] == 303.0
