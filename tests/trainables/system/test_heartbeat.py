from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.simulated import SimulatedClock
from tests.support.trial_runs import config
from tests.support.trial_runs import start as start_trial
from trainables.system.heartbeat import FOLDER, Heartbeat, kill_if_stale
from trainables.trial import RunningTrial


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The session's private folder."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setenv(FOLDER, str(private))
    return private


def start(program: str) -> subprocess.Popen[str]:
    """A process that has done what the program says and then hangs, and hears nothing."""
    code = textwrap.dedent(program) + "\nprint('ready', flush=True)\nimport time\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout and process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    return process


@pytest.fixture
def training() -> Iterator[subprocess.Popen[str]]:
    """One that trains t0001 and hangs."""
    process = start(
        "from trainables.system.heartbeat import Heartbeat\nheartbeat = Heartbeat('t0001')\nheartbeat.beat()"
    )
    yield process
    with process:
        process.kill()


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[str]]:
    """One that trains nothing yet."""
    process = start("")
    yield process
    with process:
        process.kill()


def file_of(folder: Path, pid: int, trial_id: str = "t0001") -> Path:
    return folder / f"alive-{pid}-{trial_id}"


def make_old(file: Path, age: float) -> None:
    os.utime(file, (time.time() - age, time.time() - age))


def test_only_a_process_that_should_have_beaten_is_ended(folder: Path, training: subprocess.Popen[str]) -> None:
    make_old(file_of(folder, training.pid), age=30)
    assert kill_if_stale(training.pid, "t0001", 60) is None
    assert kill_if_stale(training.pid, "t0002", 1) is None, "that is another trial"
    assert training.poll() is None
    assert kill_if_stale(training.pid, "t0001", 20) == pytest.approx(30, abs=5)
    assert training.wait(timeout=10) == -signal.SIGKILL
    assert kill_if_stale(training.pid, "t0001", 20) is None


def test_who_does_not_train_is_not_judged(idle: subprocess.Popen[str]) -> None:
    assert kill_if_stale(idle.pid, "t0001", 0) is None


def test_a_file_that_its_process_left_behind_speaks_for_no_other_of_the_same_number(
    folder: Path, training: subprocess.Popen[str], idle: subprocess.Popen[str]
) -> None:
    training.kill()
    training.wait()
    left = file_of(folder, training.pid)
    assert left.exists()
    make_old(left, age=30)
    left = left.rename(file_of(folder, idle.pid))  # the number is given out again
    assert kill_if_stale(idle.pid, "t0001", 20) is None
    assert idle.poll() is None
    assert not left.exists()


def test_files_of_killed_processes_are_cleared_by_the_next(folder: Path, training: subprocess.Popen[str]) -> None:
    training.kill()
    training.wait()
    heartbeat = Heartbeat("t0002")
    heartbeat.beat()
    assert [file.name for file in folder.iterdir()] == [f"alive-{os.getpid()}-t0002"]
    heartbeat.stop()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", ["open to all", "a link", "somebody else's"])
def test_no_file_is_believed_that_others_could_have_laid_down(
    how: str, folder: Path, training: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(file_of(folder, training.pid), age=30)
    if how == "open to all":
        folder.chmod(0o777)
    elif how == "a link":
        linked = folder.with_name("linked")
        linked.symlink_to(folder)
        monkeypatch.setenv(FOLDER, str(linked))
    else:
        monkeypatch.setattr("os.getuid", lambda: 4711)
    assert kill_if_stale(training.pid, "t0001", 20) is None
    assert training.poll() is None


def test_where_no_session_made_a_folder_it_is_one_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    heartbeat = Heartbeat("t0001")
    heartbeat.beat()
    own = tmp_path / f"zskt-{os.getuid()}"
    assert file_of(own, os.getpid()).exists()
    assert own.stat().st_mode & 0o777 == 0o700
    heartbeat.stop()


def test_a_beat_is_renewed_at_most_once_a_second(folder: Path) -> None:
    clock = SimulatedClock()
    heartbeat = Heartbeat("t0001", clock=clock)
    file = file_of(folder, os.getpid())
    heartbeat.beat()
    make_old(file, age=30)
    clock.sleep(0.5)
    heartbeat.beat()
    assert time.time() - file.stat().st_mtime > 20
    clock.sleep(0.6)
    heartbeat.beat()
    assert time.time() - file.stat().st_mtime < 5
    heartbeat.stop()
    assert not file.exists()
    heartbeat.beat()
    assert file.exists()
    heartbeat.stop()


def test_a_trial_beats_while_it_trains_and_at_no_other_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    file = file_of(folder, os.getpid())
    monkeypatch.setattr(RunningTrial, "save_if_due", lambda self: seen.append(file.exists()))
    trial = start_trial(config())
    assert not file.exists()
    trial.step()
    assert seen == [True, True], "after each pseudo batch"
    assert not file.exists()
    trial.step()
    trial.close()
    assert len(seen) == 4
    assert not file.exists()
