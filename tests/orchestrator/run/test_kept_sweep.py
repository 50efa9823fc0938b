"""A sweep that an earlier version wrote is read, continued, extended, reported and confirmed: see kept_sweep/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from orchestrator.results import read_reports, read_trials
from orchestrator.storage import find_storage
from tests.support.kept import KEPT, SWEEP_ID


def zskt(*arguments: str, home: Path) -> str:
    """Run a command as a user does; its output."""
    result = CliRunner().invoke(app, [*arguments, "--storage", str(home / "store")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def as_json(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(json.dumps(table.to_pylist(), default=str))
    return rows


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(KEPT, tmp_path / "kept")
    return tmp_path / "kept"


def rows_of(home: Path) -> dict[str, list[dict[str, Any]]]:
    store = find_storage(str(home / "store"))
    return {"trials": as_json(read_trials(store, SWEEP_ID)), "reports": as_json(read_reports(store, SWEEP_ID))}


def test_its_rows_are_read_as_they_were(home: Path) -> None:
    assert load_sweep(str(home / "search.yaml")).default_sweep_id == SWEEP_ID
    then, now = json.loads((home / "rows.json").read_text()), rows_of(home)
    assert {table: len(rows) for table, rows in now.items()} == {table: len(rows) for table, rows in then.items()}
    for table, rows in now.items():
        for row, before in zip(rows, then[table], strict=True):
            added = row.keys() - before.keys()
            assert {name: row[name] for name in before} == before
            assert {name for name in added if row[name] is not None} == set(), (
                "a column of a later version says nothing"
            )
    for command in ("results", "status", "report"):
        assert SWEEP_ID in zskt(command, SWEEP_ID, home=home)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_goes_on_is_extended_and_confirmed(home: Path) -> None:
    before = rows_of(home)
    output = zskt("sweep", str(home / "search.yaml"), "--num-trials", "5", home=home)
    assert "5 of 5 trials ended" in output
    after = rows_of(home)
    assert [row["trial_id"] for row in after["trials"]] == [f"t000{number}" for number in range(5)]
    assert after["trials"][0] == before["trials"][0]
    told = {(row["trial_id"], row["pseudo_batches"]): row for row in after["reports"]}
    for row in before["reports"]:  # t0001 went on behind its last one, which it made again: the same but for when
        again = told[row["trial_id"], row["pseudo_batches"]]
        assert again | {"reported_at": None} == row | {"reported_at": None}
    confirmed = zskt("confirm", SWEEP_ID, "--top", "1", "--seeds", "2", home=home)
    assert "published" in confirmed
    assert (home / "store" / "reports" / SWEEP_ID / "index.html").exists()
