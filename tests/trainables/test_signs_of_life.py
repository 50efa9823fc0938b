from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.test_ray_trainables import Prepared, config
from trainables.signs_of_life import SignsOfLife, end_if_lifeless


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that hangs, and hears nothing."""
    found = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    os.kill(found.pid, signal.SIGSTOP)
    yield found
    found.kill()
    found.wait()


def sign_of(pid: int, trial_id: str, age: float) -> None:
    file = Path(tempfile.gettempdir()) / f"zskt-alive-{pid}-{trial_id}"
    file.touch()
    os.utime(file, (time.time() - age, time.time() - age))


def test_only_a_process_that_should_have_given_a_sign_is_ended(process: subprocess.Popen[bytes]) -> None:
    assert end_if_lifeless(process.pid, "t0001", 1) is None, "it does not train: who knows how long that takes"
    sign_of(process.pid, "t0001", age=30)
    assert end_if_lifeless(process.pid, "t0001", 60) is None
    assert end_if_lifeless(process.pid, "t0002", 1) is None, "that is another trial"
    assert process.poll() is None
    assert end_if_lifeless(process.pid, "t0001", 20) == pytest.approx(30, abs=5)
    assert process.wait(timeout=10) == -signal.SIGKILL
    assert end_if_lifeless(process.pid, "t0001", 20) is None


def test_a_sign_is_renewed_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("trainables.signs_of_life.time.monotonic", lambda: now[0])
    signs = SignsOfLife("t0001")
    file = Path(tempfile.gettempdir()) / f"zskt-alive-{os.getpid()}-t0001"
    signs.give()
    sign_of(os.getpid(), "t0001", age=30)
    now[0] += 0.5
    signs.give()
    assert time.time() - file.stat().st_mtime > 20
    now[0] += 0.6
    signs.give()
    assert time.time() - file.stat().st_mtime < 5
    signs.withdraw()
    assert not file.exists()
    signs.give()
    assert file.exists()
    signs.withdraw()


def test_a_trial_gives_signs_while_it_trains_and_at_no_other_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    file = Path(tempfile.gettempdir()) / f"zskt-alive-{os.getpid()}-t0001"

    def watched(self: Any) -> None:
        seen.append(file.exists())

    monkeypatch.setattr(Prepared, "_save_if_due", watched)
    trial = Prepared(config())
    assert not file.exists()
    trial.train()
    assert seen == [True, True], "after each pseudo batch"
    assert not file.exists()
    trial.train()
    trial.stop()
    assert len(seen) == 4
    assert not file.exists()
