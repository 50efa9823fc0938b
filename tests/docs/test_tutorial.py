"""Runs the Python of docs/tutorial.md on a student as a sweep leaves it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.storage import find_storage
from trainables.networks import build_network
from trainables.storage.students import StudentStore

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()


def test_the_student_of_the_tutorial_is_read_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = build_network("lenet", num_classes=10, channels=1)
    [student] = set(re.findall(r"runs/students/(\S+)\.safetensors", PAGE)) - {"SWEEP/TRIAL"}
    StudentStore(find_storage("./runs").below("students")).save(student, network.state_dict(), "{}")
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(code, {})
    assert 0 <= float(capsys.readouterr().out) <= 1
