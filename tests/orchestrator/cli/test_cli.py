from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from tests.support.leaderboards import write
from tests.support.paths import ROOT
from tests.support.tiny import query_of
from trainables.storage.object_store import ObjectStore


def run_sweep_py(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run_sweep.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quickstart", "--set", "student_stepz=3"], ["student_stepz", "did you mean student_steps?", "temperature"]),
        (["quickstart", "--set", "temperature=-1"], ["temperature='-1'", "must be a number > 0"]),
        (["quikstart"], ["unknown preset 'quikstart'", "quickstart"]),
        (["quickstart", "--num-trials", "0"], ["num_trials=0", ">= 1"]),
        (["quickstart", "--cpus", "0"], ["cpu=0", "> 0"]),
        (["quickstart", "--gpus", "lots"], ["--gpus", "'lots' is neither a number nor auto"]),
        (["quickstart", "--gpus", "inf"], ["gpu=inf", "neither a fraction"]),
        (["quickstart", "--gpus", "auto", "--cpus", "-1"], ["cpu=-1"]),
        (["quickstart", "--sweep-id", "7"], ["--sweep-id '7'", "must begin with a small letter"]),
        (["quickstart", "--num-trials", "x"], ["--num-trials", "valid integer"]),
        (["quickstart", "--nonsense"], ["--nonsense"]),
        ([], ["PRESET_OR_FILE"]),
    ],
)
def test_a_users_mistake_ends_at_once_with_exit_code_2_and_no_stack_trace(
    arguments: list[str], words: list[str]
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = run_sweep_py(*arguments)
    # Of CPU, since others may want it too: a second less than importing torch and Ray takes.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_verbose_shows_where_an_error_came_from() -> None:
    result = run_sweep_py("quickstart", "--set", "temperature=-1", "--verbose")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_storage_that_cannot_be_used_is_known_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run_sweep_py("quickstart", "--storage", str(tmp_path / "file"))
    assert result.returncode == 1
    assert "cannot be written to" in result.stderr
    assert "Traceback" not in result.stderr


def test_results_prints_the_leaderboard(store: ObjectStore) -> None:
    write(store, [{"config_temperature": 2.5}])
    result = CliRunner().invoke(cli.app, ["results", "sweep-a", "--storage", store.root])
    assert result.exit_code == 0
    assert "t0000" in result.output
    assert "2.5" in result.output
    missing = CliRunner().invoke(cli.app, ["results", "sweep-b", "--storage", store.root])
    assert missing.exit_code == 1


def test_reading_from_a_place_that_is_not_there_is_one_message(moto: str) -> None:
    place = f"s3://nowhere-at-all/runs?{query_of(moto)}"
    for command in (["results", "sweep-a"], ["sweeps"], ["delete", "sweep-a"]):
        result = CliRunner().invoke(cli.app, [*command, "--storage", place])
        assert result.exit_code == 1
        assert "error: s3://nowhere-at-all/runs" in result.output
        assert "there is no such bucket" in result.output.replace("\n", " ")
    refused = CliRunner().invoke(cli.app, ["sweeps", "--storage", "s3://id:private@bucket/x"])
    assert refused.exit_code == 2
    assert "the address holds a key" in refused.output.replace("\n", " ")
    assert "private" not in refused.output


def test_presets_are_listed_with_what_they_are_for() -> None:
    result = CliRunner().invoke(cli.app, ["presets"])
    assert result.exit_code == 0
    assert "quickstart: Step ratio and temperature" in result.output


def test_help_shows_what_one_would_do_first() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    assert re.search(r"^ *zskt report quickstart-1a2b3c4d  +make one HTML page", shown, flags=re.MULTILINE), shown


def test_help_fits_one_screen_with_each_command_in_a_named_group() -> None:
    lines = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "80"}).output.splitlines()
    assert 24 <= len(lines) <= 40
    assert max(map(len, lines)) <= 80
    headings = [line for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert headings == ["Options:", "Run trials:", "Prepare a sweep:", "See and manage results:"]
    listed = [line for line in lines[lines.index("Run trials:") :] if line.startswith("  ")]
    assert {line.split()[0] for line in listed} == set(typer.main.get_group(cli.app).commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), "a whole sentence for each command"


def test_the_shell_completes_presets() -> None:
    complete = {"_ZSKT_COMPLETE": "complete_bash", "COMP_WORDS": "zskt sweep quick", "COMP_CWORD": "2"}
    shown = CliRunner().invoke(cli.app, [], prog_name="zskt", env=complete)
    assert shown.output.split() == ["quickstart", "quickstart-zero-shot"]


def test_any_preset_can_be_searched_by_another_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SweepConfig] = []

    def noted(config: SweepConfig, **_: object) -> None:
        seen.append(config)
        raise ConfigError("enough")

    monkeypatch.setattr("orchestrator.run.sweep.run_sweep", noted)
    arguments = ["sweep", "step-ratio-temperature", "--objective", "data_free_score", "--set", "audited=false"]
    assert "enough" in CliRunner().invoke(cli.app, arguments).output
    (sweep,) = seen
    assert sweep.objective == "data_free_score"
    assert not sweep.configs()[0].reads_images
    refused = CliRunner().invoke(cli.app, ["sweep", "quickstart", "--objective", "test_accuracy"])
    assert refused.exit_code == 2
    assert "allow_test_selection" in refused.output
