from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer(url: str, process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 40
    while True:
        try:
            with urllib.request.urlopen(url) as response:
                return json.load(response)
        except urllib.error.URLError:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_search_is_shown_while_it_goes_on(tmp_path: Path) -> None:
    study = open_study(
        SweepStore(ObjectStore(filesystem=LocalFilesystem(), root=str(tmp_path)), "sweep-a"), modes=["max"]
    )
    study.tell(study.ask(), 0.5)
    port = free_port()
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "dashboard", "sweep-a"]
    process = subprocess.Popen(
        [*command, "--storage", str(tmp_path), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        studies = answer(f"http://127.0.0.1:{port}/api/studies", process)["study_summaries"]
        assert [found["study_name"] for found in studies] == ["sweep-a"]
        study.tell(study.ask(), 0.7)
        shown = answer(f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}?after=0", process)["trials"]
        assert [trial["values"] for trial in shown] == [[0.5], [0.7]]
        deleting = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}", method="DELETE"
        )
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(deleting)
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=20)
    assert f"optuna-dashboard of sweep-a: http://127.0.0.1:{port}" in printed


def test_what_hinders_the_dashboard_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message() -> str:
        result = CliRunner().invoke(app, ["dashboard", "sweep-a", "--storage", str(tmp_path)])
        assert result.exit_code != 0
        return result.output

    assert "no study of sweep-a in this storage" in message()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert "pip install 'zskt[dashboard]' brings it" in message()
