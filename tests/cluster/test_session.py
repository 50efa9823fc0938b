from __future__ import annotations

import socket
import time

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
