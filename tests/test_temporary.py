from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray._common.utils import get_default_ray_temp_dir

from tests.support.temporary import private_temporary_folder


def test_what_processes_leave_goes_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "as before")
    usual = tempfile.gettempdir()
    left = "import tempfile; print(tempfile.mkdtemp())"
    with private_temporary_folder() as folder:
        printed = subprocess.run(
            [sys.executable, "-c", left], capture_output=True, text=True, check=True
        ).stdout.strip()
        ours = [printed, tempfile.mkdtemp(), get_default_ray_temp_dir(), os.environ["TORCHINDUCTOR_CACHE_DIR"]]
        assert {Path(path).parent for path in ours} == {folder}
        assert not tmp_path.is_relative_to(folder), "what a failed test left is there to be looked at"
    assert not folder.exists()
    assert tempfile.gettempdir() == usual
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "as before"


def test_this_run_has_such_a_folder() -> None:
    folder = tempfile.gettempdir()
    assert "/zt" in folder
    assert os.environ["RAY_TMPDIR"] == folder
    assert len(folder) <= 30, "Ray's sockets have paths of 107 characters at most"
