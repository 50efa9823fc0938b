from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from cluster import session
from cluster.authentication import token_of_cluster
from cluster.capacity import Capacity, NodeType
from cluster.session import NoClusterError, ray_session
from tests.support.paths import ROOT


@pytest.fixture
def _not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests of this process have left running."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.mark.usefixtures("_not_connected")
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


@pytest.mark.usefixtures("_not_connected")
def test_a_cluster_that_ray_start_joined_and_that_is_gone_is_known_in_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{unused.getsockname()[1]}"
        record = tmp_path / "ray_current_cluster"
        record.write_text(gone)
        monkeypatch.setattr("ray._private.utils.get_ray_address_file", lambda temp_dir: str(record))
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


JOIN = """
from cluster.session import NoClusterError, ray_session
try:
    with ray_session(sys.argv[1]) as session:
        print("joined", session.cpus)
except NoClusterError as error:
    print(error)
"""


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.timeout(120)
def test_a_cluster_that_asks_for_a_token_is_joined_with_the_one_in_the_users_home(tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)

    def join(**more: str) -> str:
        command = [sys.executable, "-c", "import sys\nfrom ray import tune" + JOIN, address]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "HOME": str(home), **more},
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert join() == (
        f"the Ray cluster at {address} asks for a token, and this machine has none or another one: write the cluster's into "
        "~/.ray/auth_token, or name its file with RAY_AUTH_TOKEN_PATH\n"
    )
    for more in ({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "missing")}, {"RAY_AUTH_MODE": "token"}):
        assert "asks for a token" in join(**more)
    (home / ".ray" / "auth_token").write_text("0" * 64)
    assert "asks for a token" in join()
    (home / ".ray" / "auth_token").write_text(os.environ["RAY_AUTH_TOKEN"])
    assert join() == "joined 2.0\n"


@pytest.mark.parametrize("asks", [True, False])
def test_a_token_is_shown_only_where_it_is_asked_for(
    asks: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modes = []

    def refuses(address: str) -> bool:
        modes.append(os.environ["RAY_AUTH_MODE"])
        return asks

    monkeypatch.setattr("cluster.authentication.is_refused", refuses)
    monkeypatch.setattr("cluster.authentication._has_token", lambda: True)
    monkeypatch.setattr("cluster.authentication._read_again", lambda: None)  # a session of other tests may be running
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with token_of_cluster("192.0.2.10:6379"):
        assert os.environ.get("RAY_AUTH_MODE") == ("token" if asks else None)
    assert modes == ["disabled"]
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_record_of_a_cluster_that_another_user_could_have_laid_down_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record, link = tmp_path / "ray_current_cluster", tmp_path / "link"
    record.write_text("192.0.2.10:6379")
    link.symlink_to(record)
    for file, expected in ((record, "192.0.2.10:6379"), (link, None), (tmp_path / "missing", None)):
        monkeypatch.setattr("ray._private.utils.get_ray_address_file", lambda temp_dir, file=file: str(file))
        assert session._joined_address() == expected
    monkeypatch.setattr("ray._private.utils.get_ray_address_file", lambda temp_dir: str(record))
    os.chown(record, 4711, -1) if os.getuid() == 0 else monkeypatch.setattr("os.getuid", lambda: 4711)
    assert session._joined_address() is None


def test_sigterm_while_ray_starts_is_like_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: str, folder: Path) -> None:
        raise SystemExit(signal.SIGTERM)  # what ray.init's own handler does

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(session, "_connected", connect)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # as a sweep has one
    try:
        with pytest.raises(KeyboardInterrupt), ray_session("local"):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
