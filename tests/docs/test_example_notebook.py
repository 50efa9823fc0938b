from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from orchestrator.storage import find_storage
from tests.support.paths import ROOT
from tests.support.synthetic import write_search

NOTEBOOK = ROOT / "docs" / "example.ipynb"


def test_the_example_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one namespace, as a kernel would; what only a front end does, showing the last value of a cell, is left out."""
    write_search(find_storage(str(tmp_path / "runs")), "search-a", trials=24)
    monkeypatch.chdir(tmp_path)
    content = json.loads(NOTEBOOK.read_text())
    names: dict[str, Any] = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "keep outputs out of the repository"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["sweep_id"] == "search-a"
    assert len(names["of_sweep"]) == 24
    assert len(names["figures"]) > 8
    assert isinstance(names["figure"], go.Figure)
    assert "Importance of each setting" in names["figures"]
