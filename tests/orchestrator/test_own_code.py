"""Files of a user's own go with the sweep that runs them, and code from a storage runs only where the user says so."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.inputs.own_code import read_code, settle_code
from orchestrator.results import SweepResults
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.search.space import resolve_domains
from orchestrator.storage import SweepStore, find_storage
from tests.conftest import tiny_settings
from trainables.config import plugins

NETS = """
import torch
from torch import nn

WIDTH = {width}

class Small(nn.Module):
    def __init__(self, num_classes, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, WIDTH, 5, stride=4)
        self.last = nn.Linear(WIDTH, num_classes)

    def forward(self, images):
        return self.last(torch.relu(self.first(images)).mean((2, 3)))
"""
THEN, NOW = NETS.format(width=4), NETS.format(width=5)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a sweep and the file that it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(THEN)
    settings = {
        "name": "own",
        "trial": tiny_settings(validation_fraction=0.5, student_steps=1, student="nets.py:Small", attention_weight=0),
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 2,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": {"full_data_epochs": 1, "learning_rate": 0.05, "batch_size": 32},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def run(folder: Path, *, file: str = "own.yaml", trusted: tuple[str, ...] = (), **flags: Any) -> str:
    sweep = load_sweep(file, flags={"storage": str(folder / "runs"), **flags})
    out = io.StringIO()
    inline = BackendChoice(name="inline")
    run_sweep(sweep, sweep_id="own", backend=inline, console=Console(file=out, width=200), trusted_code=trusted)
    return out.getvalue()


def zskt(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, list(arguments))
    return result.exit_code, result.output + (result.stderr or "")


def store(folder: Path) -> SweepStore:
    return SweepStore(find_storage(str(folder / "runs")), "own")


def trusted_copy(folder: Path) -> Path:
    return folder / "runs" / "code" / "own" / sha256(THEN) / "nets.py"


def test_a_copy_and_its_checksum_are_kept_and_what_is_edited_is_refused(folder: Path) -> None:
    run(folder)
    assert trusted_copy(folder).read_text() == THEN
    results = SweepResults(store(folder))
    assert [session.code for session in results.sessions()] == [{"nets.py": sha256(THEN)}] * len(results.sessions())

    (folder / "nets.py").write_text(NOW)
    with pytest.raises(SweepMismatchError) as refused:
        run(folder, num_trials=3)
    told = str(refused.value)
    for part in (
        str(trusted_copy(folder)),
        "--sweep-id",
        f"--trust-code {sha256(NOW)}",
        f"--trust-code {sha256(THEN)}",
    ):
        assert part in told
    assert len(results.trials()) == 2

    # Where the user says that it may, it goes on with what is there now, and the next session asks no more.
    run(folder, num_trials=3, trusted=(sha256(NOW),))
    assert results.sessions()[-1].code == {"nets.py": sha256(NOW)}
    run(folder, num_trials=4)
    assert [row.metrics["student_parameters"] for row in results.trials()][:2] == [4 * 26 + 50] * 2
    assert len(results.trials()) == 4


def test_the_copy_runs_where_the_file_is_gone_and_the_copy_is_trusted(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").unlink()
    plugins._run_once.cache_clear()
    storage = ("--storage", str(folder / "runs"), "--backend", "inline")
    once = ("rerun", "own", "t0001", *storage)
    code, told = zskt(*once)
    assert code == 2 and "no such file" in told and f"--trust-code {sha256(THEN)}" in told, told
    assert str(trusted_copy(folder)) in told
    code, told = zskt(*once, "--trust-code", sha256(NOW))
    assert code == 2 and "no such file" in told
    code, told = zskt(*once, "--trust-code", "yes")
    assert code == 2 and "64 hexadecimal digits" in told
    code, told = zskt(*once, "--trust-code", sha256(THEN))
    assert code == 0 and "bit for bit" in told, told

    # Continuing the sweep itself, which is named so that its copies are known before the file is read.
    plugins._places.clear()
    more = ("sweep", "own.yaml", "--sweep-id", "own", "--num-trials", "3", *storage)
    code, told = zskt(*more)
    assert code == 2 and f"--trust-code {sha256(THEN)}" in told, told
    code, told = zskt(*more, "--trust-code", sha256(THEN))
    assert code == 0, told
    assert len(SweepResults(store(folder)).trials()) == 3

    plugins._places.clear()
    confirm = ("confirm", "own", "--top", "1", "--seeds", "2", *storage)
    assert zskt(*confirm)[0] == 2
    code, told = zskt(*confirm, "--trust-code", sha256(THEN))
    assert code == 0, told


def test_students_are_looked_at_with_the_network_that_they_are(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").write_text(NOW)
    plugins._run_once.cache_clear()
    look = ("evaluate", "images", "own/t0000", "--storage", str(folder / "runs"), "--output", str(folder / "seen.png"))
    code, told = zskt(*look)
    assert code == 2 and "another nets.py" in told, told
    code, told = zskt(*look, "--trust-code", sha256(THEN))
    assert code == 0 and (folder / "seen.png").exists(), told
    noise = ("evaluate", "noise", "own/t0000", "--dataset", "digits", "--storage", str(folder / "runs"))
    plugins._places.clear()
    assert zskt(*noise)[0] == 2
    assert zskt(*noise, "--trust-code", sha256(THEN))[0] == 0


def test_a_copy_that_somebody_has_changed_is_not_run(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").unlink()
    trusted_copy(folder).write_text("raise SystemExit('run')")
    with pytest.raises(ConfigError, match="is not run"):
        settle_code(store(folder), (sha256(THEN),))
    trusted_copy(folder).unlink()
    with pytest.raises(ConfigError, match="is gone"):
        settle_code(store(folder), (sha256(THEN),))


def test_a_file_beside_the_sweeps_is_found_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run(folder, file="../own.yaml")
    assert SweepResults(store(folder)).sessions()[-1].code == {"nets.py": sha256(THEN)}
    # One in the working folder is before it.
    plugins._places.clear()
    shutil.copy(folder / "nets.py", elsewhere)
    (elsewhere / "nets.py").write_text(NOW)
    sweep = load_sweep("../own.yaml")
    assert read_code(sweep, {}) == {"nets.py": NOW.encode()}


def test_every_file_on_which_numbers_depend_goes_with_the_sweep(folder: Path) -> None:
    (folder / "more.py").write_text(
        "def gap(student, teacher):\n    return (student - teacher).pow(2)\n\n"
        "def largest(training):\n    return 1.0\n\n"
    )
    for name in ("a.py", "b.py", "space.py"):
        shutil.copy(folder / "nets.py", folder / name)
    (folder / "space.py").write_text(
        "def space(trial):\n    return {'student': trial.suggest_categorical('student', ['a.py:Small', 'b.py:Small'])}\n"
    )
    content = yaml.safe_load((folder / "own.yaml").read_text())
    del content["trial"]["student"]
    content["space"] = "space.py:space"
    content["trial"] |= {"metrics": "more.py:largest", "student_divergence": "more.py:gap"}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    sweep = load_sweep("own.yaml")
    # The space's own file is not among them: what it varies is compared as domains.
    assert sorted(read_code(sweep, resolve_domains(sweep)[1])) == ["a.py", "b.py", "more.py"]


def test_a_machine_without_the_file_gets_a_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    plugins.place_copies({"nets.py": THEN.encode()})
    placed = plugins.file_path("nets.py")
    assert placed.read_text() == THEN and placed.is_absolute()
    # Another file under its name, or a damaged copy, is not run instead.
    (elsewhere / "nets.py").write_text(NOW)
    placed.write_text(NOW)
    plugins.place_copies({"nets.py": THEN.encode()})
    assert plugins.file_path("nets.py").read_text() == THEN
    # One that lies there as it should is used where it is, where a debugger finds it.
    plugins.place_copies({"nets.py": NOW.encode()})
    assert plugins.file_path("nets.py") == Path("nets.py")
