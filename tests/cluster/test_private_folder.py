from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import private_folder as module
from cluster.private_folder import private_folder
from tests.support.paths import ROOT


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_LONGEST_PARENT", len(str(tmp_path)))
    return tmp_path


def test_a_folder_for_this_user_alone_is_gone_at_the_end(temporary: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "logs").mkdir()
        (folder / "logs" / "log").write_text("said")
    assert list(temporary.iterdir()) == []


def test_what_killed_sessions_have_left_is_cleared_and_nothing_else(temporary: Path) -> None:
    program = (
        "import tempfile, sys, os\n"
        "from cluster import private_folder as module\n"
        f"tempfile.tempdir, module._LONGEST_PARENT = {str(temporary)!r}, 999\n"
        "with module.private_folder() as folder:\n"
        "    (folder / 'socket').touch(); print(folder, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        assert process.stdout
        theirs = Path(process.stdout.readline().strip())
        users = temporary / "zskt-notes"  # a folder that only looks like one of ours
        users.mkdir()
        (users / "notes").touch()
        with private_folder():
            assert theirs.exists(), "that session still runs"
        process.kill()
    assert theirs.exists()
    with private_folder() as folder:
        assert sorted(temporary.iterdir()) == sorted([folder, users])
    assert [path.name for path in users.iterdir()] == ["notes"]


def test_a_folder_of_another_user_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = temporary / "zskt-foreign"
    foreign.mkdir()
    (foreign / ".session").touch()
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with private_folder():
        assert foreign.exists()


def test_where_the_temporary_folder_has_a_long_path_sockets_get_a_short_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_PARENT", 24)
    assert len(str(temporary)) > 24
    with private_folder() as folder:
        assert folder.parent == Path("/tmp")
