"""SIGTERM, as `kubectl delete`, `ray job stop` and shutdowns send it, ends a sweep in whatever phase it is."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster import session as cluster_session
from cluster.capacity import Capacity, NodeType
from cluster.session import RaySession
from orchestrator.results import read_sweeps
from orchestrator.run.sweep import run_sweep
from orchestrator.storage import find_storage
from tests.support.whole_sweeps import sweep_of

HERE = RaySession(
    cpus=1, gpus=0, capacity=Capacity(fixed=[NodeType(count=1, cpus=1, gpus=0)]), hosts=1, folder=Path("unused")
)


def terminate(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    raise AssertionError("SIGTERM did nothing")


@contextmanager
def waiting(address: str | None) -> Iterator[RaySession]:
    """A cluster whose machines have not joined yet."""
    terminate()
    yield HERE


@contextmanager
def there(address: str | None) -> Iterator[RaySession]:
    yield HERE


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["", "in a script's background"])
def _on_ctrl_c(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the shell that starts a sweep has set for Ctrl-C; a script has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_on_ctrl_c")
@pytest.mark.parametrize(
    ("session", "prepare", "events"),
    [(waiting, None, []), (there, terminate, ["started", "interrupted"])],
    ids=["while it waits for machines", "while a teacher trains"],
)
def test_sigterm_ends_every_phase_as_ctrl_c_does(
    session: Any, prepare: Callable[..., Any], events: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.run.ray_backend.ray_session", session)
    monkeypatch.setattr("orchestrator.run.session.prepare_inputs", prepare)
    before = signal.getsignal(signal.SIGTERM)
    sweep = sweep_of(str(tmp_path))
    outcome = run_sweep(sweep, sweep_id="ended", console=Console(file=io.StringIO()))
    assert not outcome.finished
    assert read_sweeps(find_storage(sweep.storage), "ended")["event"].to_pylist() == events
    assert signal.getsignal(signal.SIGTERM) == before


def test_connecting_to_ray_leaves_the_handler_of_sigterm_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(*_: Any) -> None:
        """Nothing."""

    @contextmanager
    def connected(address: str, folder: Path) -> Iterator[None]:
        signal.signal(signal.SIGTERM, lambda *_: None)  # as ray.init does
        yield

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(cluster_session, "_connected", connected)
    monkeypatch.setattr(cluster_session, "_describe", lambda folder: HERE)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        with cluster_session.ray_session("local"):
            assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)
