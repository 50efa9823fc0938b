"""What a run says of the tests that it had to leave out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import missing
from tests.support.paths import ROOT


class Terminal:
    """What pytest's terminal knows, and what it is told to print."""

    def __init__(self, *skipped: tuple[str, str]) -> None:
        reports = [SimpleNamespace(nodeid=name, longrepr=("file", 1, f"Skipped: {reason}")) for name, reason in skipped]
        self.stats = {"skipped": reports}
        self.lines: list[str] = []

    def write_line(self, line: str, **_: bool) -> None:
        self.lines.append(line)


def end(terminal: Terminal | None) -> int:
    """The exit status of a green run with this terminal."""
    plugins = SimpleNamespace(get_plugin=lambda name: terminal)
    session: Any = SimpleNamespace(config=SimpleNamespace(pluginmanager=plugins), exitstatus=pytest.ExitCode.OK)
    missing.tell_skips(session)
    return int(session.exitstatus)


BROWSER = ("tests/orchestrator/report/test_browser.py::test_a[x]", "the report in a browser (apt-get install chromium)")
GPU = ("tests/trainables/compute/test_graphs.py::test_a_gpu_records_and_says_why", "CUDA (needs a GPU)")


def test_one_sentence_says_what_was_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    terminal = Terminal(GPU, BROWSER, ("tests/other.py::test_b", BROWSER[1]))
    assert end(terminal) == 0
    assert terminal.lines == [
        "Not tested here: CUDA (needs a GPU), the report in a browser (apt-get install chromium)."
    ]
    assert end(Terminal()) == end(None) == 0


def test_in_ci_a_skip_that_is_not_named_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert end(Terminal(GPU)) == 0
    terminal = Terminal(GPU, BROWSER)
    assert end(terminal) == pytest.ExitCode.TESTS_FAILED
    assert terminal.lines[-1].endswith(f"allowed_skips.txt does not name these tests, which were skipped: {BROWSER[0]}")


def test_the_list_of_allowed_skips_is_short_and_of_tests_that_are_there() -> None:
    lines = [line for line in missing.ALLOWED_SKIPS.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) <= 10
    for line in lines:
        pattern, reason = line.split(maxsplit=1)
        file, _, test = pattern.partition("::")
        assert f"def {test.rstrip('*') or 'test_'}" in (ROOT / file).read_text()
        assert reason


def test_a_command_skips_for_want_of_a_right_alone() -> None:
    def run(script: str) -> None:
        missing.run_or_skip([sys.executable, "-c", f"import sys; sys.exit({script})"], "what it would show")

    run("0")
    with pytest.raises(pytest.skip.Exception, match="what it would show"):
        run("'mount: only root can do that: Operation not permitted'")
    with pytest.raises(AssertionError, match="no such device"):
        run("'mount: no such device'")


@pytest.mark.timeout(180)  # another pytest
def test_without_tools_tests_are_skipped_for_the_tool_that_is_missing(tmp_path: Path) -> None:
    """In a process that finds no program at all; each remedy is named once."""
    chosen = [
        "tests/orchestrator/report/test_browser.py",
        "tests/orchestrator/storage/test_full_disk.py",
        "tests/cluster/test_ray_submit.py::test_one_host_from_up_to_down",
    ]
    hidden = {"CHROMIUM", "CI", "CXX"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden and "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(
        command, env={**kept, "PATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Not tested here: ")
    for what in ("Ray's commands over ssh (apt-get", "a full disk (needs root", "browser (apt-get install chromium"):
        assert last.count(what) == 1
