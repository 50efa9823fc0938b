from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from cluster.session import NoClusterError, ray_session


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
