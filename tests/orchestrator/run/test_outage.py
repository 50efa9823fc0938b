"""A sweep whose storage is away for longer than patience lasts: it is paused, and nobody has to repeat the command."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ray import tune
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import ClusterError, StorageError, SweepStoppedError
from orchestrator.run import outage
from orchestrator.run import sweep as sweeps
from orchestrator.run.outage import wait_for_storage
from orchestrator.run.signals import PROCESS_SIGNALS
from tests.support.simulated import SimulatedClock
from trainables.errors import StorageOutageError
from trainables.storage.filesystems import LocalFilesystem, PassingError
from trainables.storage.object_store import ObjectStore
from trainables.system.clock import SystemClock

AWAY = StorageOutageError("storage did not answer for 600 s (SlowDown); the patience is 600 s")


@pytest.fixture(autouse=True)
def _interrupts_as_in_a_new_process() -> Iterator[None]:
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests that ran Tune itself may leave its handler
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def back_after(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, clock: SimulatedClock) -> dict[str, Any]:
    """How long writing fails, in seconds, and with what."""
    told: dict[str, Any] = {"seconds": 0.0, "error": PassingError("SlowDown (HTTP 503)")}
    write = LocalFilesystem.write

    def flaky(self: LocalFilesystem, path: str, data: bytes) -> None:
        if clock.seconds < told["seconds"]:
            raise told["error"]
        write(self, path, data)

    monkeypatch.setattr(LocalFilesystem, "write", flaky)
    return told


def test_an_hour_without_storage_is_a_line_a_minute_and_then_over(
    store: ObjectStore, back_after: dict[str, Any], clock: SimulatedClock
) -> None:
    back_after["seconds"] = 3600
    said: list[str] = []
    wait_for_storage(store, StorageConfig(uri=store.root), AWAY, say=said.append, clock=clock)
    assert 3600 <= clock.seconds < 3620
    assert (
        "Paused: nothing that was written is lost, trials stay as they were, and the sweep resumes by itself" in said[0]
    )
    assert "SlowDown" in said[0]
    assert "for up to 24.0 h" in said[0]
    assert 55 <= len(said[1:-1]) <= 60
    assert said[1].startswith("paused since 60 s: storage ")
    assert said[-1].endswith("answers again after a pause of 60 min; the sweep resumes")
    assert store.filesystem.sizes(store.root) == {}, "nothing stays of looking"


def test_a_pause_is_as_long_as_the_user_says(
    store: ObjectStore, back_after: dict[str, Any], clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_after["seconds"] = 10**6
    said: list[str] = []
    with pytest.raises(StorageError, match=r"did not answer for 600 s .* the same command resumes the sweep"):
        wait_for_storage(store, StorageConfig(uri=store.root, pause_seconds=300), AWAY, say=said.append, clock=clock)
    assert 300 <= clock.seconds < 320
    assert "for up to 5 min" in said[0]
    with pytest.raises(StorageError):
        wait_for_storage(store, StorageConfig(uri=store.root, pause_seconds=0), AWAY, say=pytest.fail, clock=clock)
    monkeypatch.setattr(outage, "_LOOK_SECONDS", 3600)
    wait_for_storage(store, StorageConfig(uri=store.root, pause_seconds=None), AWAY, say=said.append, clock=clock)
    assert clock.seconds >= 10**6


def test_storage_that_is_back_and_refuses_is_not_waited_for(store: ObjectStore, back_after: dict[str, Any]) -> None:
    back_after |= {"seconds": 10**6, "error": PermissionError("not allowed")}
    with pytest.raises(StorageError, match="not allowed"):
        wait_for_storage(store, StorageConfig(uri=store.root), AWAY, say=lambda line: None)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_pause_ends_like_a_sweep_on_ctrl_c(
    how: signal.Signals,
    store: ObjectStore,
    back_after: dict[str, Any],
    clock: SimulatedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    back_after["seconds"] = 10**6
    monkeypatch.setattr(clock, "sleep", lambda seconds: os.kill(os.getpid(), how))
    with pytest.raises(
        SweepStoppedError, match="stopped while storage .* did not answer; .* the same command resumes this sweep"
    ):
        wait_for_storage(store, StorageConfig(uri=store.root), AWAY, say=lambda line: None, clock=clock)


def test_a_session_that_an_outage_ends_is_followed_by_another(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Exception] = [ClusterError("the third session"), AWAY, AWAY]

    def session(*_: Any, **__: Any) -> Any:
        raise ends.pop()

    monkeypatch.setattr(sweeps, "_run_session", session)
    out = io.StringIO()
    with pytest.raises(ClusterError, match="the third session"):
        sweeps.run_sweep(
            SweepConfig(name="a", storage=StorageConfig(uri=store.root)), console=Console(file=out, width=300)
        )
    assert out.getvalue().count("answers again after a pause of 0 s") == 2


def test_stopping_a_paused_sweep_has_the_exit_code_of_ctrl_c(
    store: ObjectStore, back_after: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*_: Any, **__: Any) -> Any:
        back_after["seconds"] = 10**6
        raise AWAY

    monkeypatch.setattr(sweeps, "_run_session", session)
    monkeypatch.setattr(SystemClock, "sleep", lambda self, seconds: signal.raise_signal(signal.SIGINT))
    result = CliRunner().invoke(app, ["sweep", "quickstart", "--storage", store.root])
    assert result.exit_code == 130
    assert "the same command resumes this sweep" in result.output


@pytest.mark.parametrize("disturbed", [True, False])
def test_it_is_known_after_a_run_of_tune_whether_the_user_interrupted_it(disturbed: bool) -> None:
    before = signal.getsignal(signal.SIGINT)
    with PROCESS_SIGNALS.terminate_like_interrupt() as interrupted:
        tune.tune._setup_signal_catching()
        if disturbed:
            signal.raise_signal(signal.SIGTERM)
    assert interrupted() is disturbed
    assert signal.getsignal(signal.SIGINT) is before, "Tune leaves its own there"


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone() -> None:
    found: list[bool] = []

    def look() -> None:
        with PROCESS_SIGNALS.terminate_like_interrupt() as interrupted:
            found.append(interrupted())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [False]
