"""Files of a user's own go with the sweep that runs them, and code from a storage runs only where the user says so."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.inputs.own_code import keep_code, read_code, take_code
from orchestrator.results import SweepResults
from orchestrator.run import ray_backend
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.search.space import resolve_domains, values_in
from orchestrator.storage import SweepStore, find_storage
from tests.support.tiny import tiny_settings
from trainables.errors import TeacherError
from trainables.system import own_files
from trainables.system.own_files import OwnFile, own_file, run_file

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
PARAMETERS = {THEN: 4 * 26 + 50, NOW: 5 * 26 + 60}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a sweep and the file that it names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(THEN)
    write_sweep(tmp_path)
    return tmp_path


def write_sweep(folder: Path, **changes: Any) -> None:
    trial = tiny_settings(validation_fraction=0.5, student_steps=1, attention_weight=0)
    settings: dict[str, Any] = {
        "name": "own",
        "trial": {**trial, "student": "nets.py:Small", **changes.pop("trial", {})},
        "space": {"temperature": {"type": "float", "low": 1, "high": 4}},
        "num_trials": 2,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": {"full_data_epochs": 1, "learning_rate": 0.05, "batch_size": 32},
        **changes,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))


def run(
    folder: Path,
    *,
    file: str = "own.yaml",
    assignments: Sequence[str] = (),
    trusted: tuple[str, ...] = (),
    **flags: Any,
) -> str:
    """Run a whole sweep in this process; what it said."""
    sweep = load_sweep(file, flags={"storage": str(folder / "runs"), **flags}, assignments=assignments)
    out = io.StringIO()
    inline = BackendChoice(name="inline")
    run_sweep(sweep, sweep_id="own", backend=inline, console=Console(file=out, width=200), trusted_code=trusted)
    return out.getvalue()


def zskt(*arguments: str) -> tuple[int, str]:
    """A command in a process of its own, as far as files are concerned."""
    own_files.forget()
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, list(arguments))
    return result.exit_code, result.output + (result.stderr or "")


def store(folder: Path) -> SweepStore:
    return SweepStore(find_storage(str(folder / "runs")), "own")


def parameters(folder: Path) -> list[int]:
    return [row.metrics["student_parameters"] for row in SweepResults(store(folder)).trials()]


def copy_of(folder: Path, text: str) -> Path:
    return folder / "runs" / "code" / "own" / sha256(text) / "nets.py"


def rewrite_sessions(folder: Path, **columns: Any) -> None:
    """Give all rows of sessions other values, as somebody who may write to the storage could."""
    for file in (folder / "runs/results/v1/sweeps/sweep_id=own").glob("*.parquet"):
        rows = pq.read_table(file, partitioning=None)
        for name, value in columns.items():
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), pa.array([value] * len(rows), pa.string()))
        pq.write_table(rows, file)


def test_a_copy_and_its_checksum_are_kept_and_what_is_edited_is_refused(folder: Path) -> None:
    run(folder)
    assert copy_of(folder, THEN).read_text() == THEN
    results = SweepResults(store(folder))
    for session in results.sessions():
        assert session.code["nets.py"].sha256 == sha256(THEN)
        assert session.code["nets.py"].path == str(folder / "nets.py")

    (folder / "nets.py").write_text(NOW)
    with pytest.raises(SweepMismatchError) as refused:
        run(folder, num_trials=3)
    for part in (str(copy_of(folder, THEN)), f"--trust-code {sha256(NOW)}"):
        assert part in str(refused.value)
    with pytest.raises(SweepMismatchError, match="To run the copy name the sweep: --sweep-id own"):
        run(folder, num_trials=3, trusted=(sha256(THEN),))
    assert parameters(folder) == [PARAMETERS[THEN]] * 2

    # Where the user says that it may, it goes on with what is there now, and the next session asks no more.
    run(folder, num_trials=3, trusted=(sha256(NOW).upper(),))
    assert results.sessions()[-1].code["nets.py"].sha256 == sha256(NOW)
    run(folder, num_trials=4)
    assert parameters(folder) == [PARAMETERS[THEN]] * 2 + [PARAMETERS[NOW]] * 2
    assert copy_of(folder, THEN).exists() and copy_of(folder, NOW).exists()


def test_what_has_no_report_yet_may_be_mended(folder: Path) -> None:
    # The check before trials shows it two images.
    broken = THEN.replace("return self.last", "assert len(images) < 3; return self.last")
    (folder / "nets.py").write_text(broken)
    run(folder, num_trials=1)
    assert not SweepResults(store(folder)).reports()
    (folder / "nets.py").write_text(THEN)
    run(folder)
    assert parameters(folder) == [None, PARAMETERS[THEN]]


def test_the_copy_runs_where_the_file_is_gone_and_the_copy_is_trusted(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").unlink()
    storage = ("--storage", str(folder / "runs"), "--backend", "inline")
    once = ("rerun", "own", "t0001", *storage)
    code, told = zskt(*once)
    assert code == 2 and "no such file" in told and f"--trust-code {sha256(THEN)}" in told, told
    assert str(copy_of(folder, THEN)) in told
    code, told = zskt(*once, "--trust-code", sha256(NOW))
    assert code == 2 and "no such file" in told
    code, told = zskt(*once, "--trust-code", "yes")
    assert code == 2 and "64 hexadecimal digits" in told
    code, told = zskt(*once, "--trust-code", sha256(THEN), "--trust-code", sha256(NOW))
    assert code == 2 and f"{sha256(NOW)}: not the checksum of a file that own needs here" in told
    code, told = zskt(*once, "--trust-code", sha256(THEN))
    assert code == 0 and "bit for bit" in told, told

    # Continuing the sweep itself, which is named so that its copies are known before the file is read.
    more = ("sweep", "own.yaml", "--sweep-id", "own", "--num-trials", "3", *storage)
    code, told = zskt(*more)
    assert code == 2 and f"--trust-code {sha256(THEN)}" in told, told
    code, told = zskt(*more, "--set", "temprature=2", "--trust-code", sha256(THEN))
    assert code == 2 and "temprature" in told, told
    code, told = zskt(*more, "--trust-code", sha256(THEN))
    assert code == 0, told
    assert parameters(folder) == [PARAMETERS[THEN]] * 3

    confirm = ("confirm", "own", "--top", "1", "--seeds", "2", *storage)
    assert zskt(*confirm)[0] == 2
    code, told = zskt(*confirm, "--trust-code", sha256(THEN))
    assert code == 0, told


def test_each_trial_runs_again_with_the_file_that_it_ran(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").write_text(NOW)
    own_files.forget()
    run(folder, num_trials=3, trusted=(sha256(NOW),))
    storage = ("--storage", str(folder / "runs"), "--backend", "inline")
    code, told = zskt("rerun", "own", "t0002", *storage)
    assert code == 0 and "bit for bit" in told, told
    code, told = zskt("rerun", "own", "t0001", *storage)
    assert code == 2 and "another nets.py" in told and sha256(NOW) in told, told
    code, told = zskt("rerun", "own", "t0001", "--trust-code", sha256(THEN), *storage)
    assert code == 0 and "bit for bit" in told, told
    # With the other file, and not what was found with the first one.
    code, told = zskt("rerun", "own", "t0001", "--trust-code", sha256(NOW), *storage)
    assert code == 1 and f"student_parameters: {PARAMETERS[THEN]} then, {PARAMETERS[NOW]} now" in told, told


def test_students_are_looked_at_with_the_network_that_they_are(folder: Path) -> None:
    run(folder)
    (folder / "nets.py").write_text(NOW)
    storage = ("--storage", str(folder / "runs"))
    look = ("evaluate", "images", "own/t0000", *storage, "--output", str(folder / "seen.png"))
    code, told = zskt(*look)
    assert code == 2 and "another nets.py" in told, told
    code, told = zskt(*look, "--trust-code", sha256(THEN))
    assert code == 0 and (folder / "seen.png").exists(), told
    noise = ("evaluate", "noise", "own/t0000", "--dataset", "digits", *storage)
    assert zskt(*noise)[0] == 2
    assert zskt(*noise, "--trust-code", sha256(THEN))[0] == 0


def test_a_copy_that_somebody_has_changed_is_not_run_and_is_mended(folder: Path) -> None:
    run(folder)
    kept = copy_of(folder, THEN)
    kept.write_text("raise SystemExit('run')")
    (folder / "nets.py").rename(folder / "away.py")
    own_files.forget()
    with pytest.raises(ConfigError, match="is not run"):
        take_code(store(folder), ["nets.py"], trusted_code=(sha256(THEN),))
    kept.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        take_code(store(folder), ["nets.py"], trusted_code=(sha256(THEN),))
    (folder / "away.py").rename(folder / "nets.py")
    kept.write_text("raise SystemExit('run')")
    run(folder, num_trials=3)
    assert kept.read_text() == THEN


EVIL = "import pathlib\npathlib.Path({ran!r}).touch()\n"
PLACES = ("runs/code/own/evil.py", "runs/evil.py", "elsewhere/evil.py")


def with_settings(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda stored: {**stored, "trial": {**stored["trial"], **changes}}


BY_FIELD: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "the student": with_settings(student="EVIL:Small"),
    "the method": with_settings(method="EVIL:METHOD"),
    "the data set": with_settings(dataset="EVIL:DATA"),
    "the normalisation of images of one's own": with_settings(
        num_classes=10,
        channels=1,
        image_size="32x32",
        dataset="mine",
        dataset_file="mine.zip",
        normalisation="EVIL:DATA",
    ),
    "what a budget is counted by": lambda stored: {
        **with_settings(student="EVIL:Small")(stored),
        "budget": {"unit": "flops", "amount": 10**12},
    },
    "the teacher's recipe": lambda stored: {**stored, "teacher_recipe": {"student": "EVIL:Small"}},
    "a metric": with_settings(metrics="EVIL:METRIC"),
    "the sampler": lambda stored: {**stored, "sampler": {"name": "EVIL:Sampler"}},
}


@pytest.mark.parametrize("field", BY_FIELD)
def test_what_only_a_storage_names_is_not_run(field: str, folder: Path) -> None:
    run(folder)
    (folder / "elsewhere").mkdir()
    ran = folder / "ran"
    [text] = {session.config_json for session in SweepResults(store(folder)).sessions()}
    storage = ("--storage", str(folder / "runs"))
    for place in PLACES:
        evil = folder / place
        evil.write_text(EVIL.format(ran=str(ran)) + THEN)
        changed = json.dumps(BY_FIELD[field](json.loads(text))).replace("EVIL", str(evil))
        assert str(evil) in changed
        # Whoever writes the settings may write no checksum, or one of another file; an equal one comes below.
        rewrite_sessions(folder, config_json=changed, code_json=None)
        for command in (["results", "own"], ["status", "own"], ["report", "own"]):
            code, told = zskt(*command, *storage)
            assert code == 0, told
        code, told = zskt("confirm", "own", "--seeds", "2", "--backend", "inline", *storage)
        assert code in {1, 2} and "Traceback" not in told, told
        assert not ran.exists(), (place, told)


def test_a_file_in_the_storage_is_not_taken_for_the_users_own(folder: Path) -> None:
    run(folder)
    for place in PLACES[:2]:
        evil = folder / place
        evil.write_text(THEN)
        code = {str(evil): {"sha256": sha256(THEN), "path": str(evil)}}
        rewrite_sessions(folder, code_json=json.dumps(code))
        own_files.forget()
        with pytest.raises(SweepMismatchError, match=f"lies in the storage or .* --trust-code {sha256(THEN)}"):
            take_code(store(folder), [str(evil)])
        take_code(store(folder), [str(evil)], trusted_code=(sha256(THEN),))


def test_another_teacher_in_the_folder_of_one_is_refused(folder: Path) -> None:
    run(folder)
    [metadata] = (folder / "runs" / "teachers").glob("digits/*/metadata.json")
    (folder / "evil.py").write_text(EVIL.format(ran=str(folder / "ran")) + THEN)
    metadata.write_text(metadata.read_text().replace('"lenet"', f'"{folder}/evil.py:Small"'))
    with pytest.raises(TeacherError, match="contrary to its folder.s name"):
        run(folder, num_trials=3)
    assert not (folder / "ran").exists()


def test_two_names_of_one_content_are_trusted_together(folder: Path) -> None:
    shutil.copy(folder / "nets.py", folder / "same.py")
    write_sweep(folder, trial={"metrics": "same.py:WIDTH,nets.py:WIDTH"})
    keep_code(store(folder), read_code(load_sweep("own.yaml")))
    run(folder, assignments=["metrics=none"])
    both = {name: {"sha256": sha256(THEN), "path": str(folder / name)} for name in ("nets.py", "same.py")}
    rewrite_sessions(folder, code_json=json.dumps(both))
    for name in both:
        (folder / name).unlink()
    own_files.forget()
    take_code(store(folder), list(both), trusted_code=(sha256(THEN),))
    assert own_file("same.py").content == own_file("nets.py").content == THEN.encode()


def test_of_what_a_version_before_ran_nothing_is_assumed(folder: Path) -> None:
    run(folder)
    rewrite_sessions(folder, code_json=None)
    storage = ("--storage", str(folder / "runs"), "--backend", "inline")
    code, told = zskt("rerun", "own", "t0001", *storage)
    assert code == 2 and "is not known: no checksum of it was kept" in told and sha256(THEN) in told, told
    code, told = zskt("rerun", "own", "t0001", "--trust-code", sha256(THEN), *storage)
    assert code == 0 and "bit for bit" in told, told
    # A sweep's own file names it, so that it runs; what is not known is said.
    assert "whether nets.py is the file that own ran before is not known" in run(folder, num_trials=3)
    assert SweepResults(store(folder)).sessions()[-1].code["nets.py"].sha256 == sha256(THEN)


def test_a_file_beside_the_sweeps_is_found_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run(folder, file="../own.yaml")
    assert SweepResults(store(folder)).sessions()[-1].code["nets.py"].path == str(folder / "nets.py")
    # The next command finds it where it lay.
    code, told = zskt("rerun", "own", "t0001", "--storage", str(folder / "runs"), "--backend", "inline")
    assert code == 0 and "bit for bit" in told, told
    # An objective too, and several metrics.
    (folder / "more.py").write_text("def first(training):\n    return 1.0\n\ndef second(training):\n    return 2.0\n")
    both = ["metrics=more.py:first,more.py:second"]
    named = load_sweep("../own.yaml", flags={"objective": "more.py:first"}, assignments=both)
    assert named.objective == "more.py:first"
    with pytest.raises(ConfigError):
        load_sweep("../own.yaml", assignments=["student=more\0.py:first"])
    # What the command line names may lie beside the sweep's file too; one in the working folder is before it.
    (folder / "other.py").write_text(THEN)
    assert load_sweep("../own.yaml", assignments=["student=other.py:Small"]).trial["student"] == "other.py:Small"
    (elsewhere / "nets.py").write_text(NOW)
    assert [file.content for file in read_code(load_sweep("../own.yaml"))] == [NOW.encode()]


def test_two_sweeps_whose_files_share_a_name_have_each_their_own(folder: Path) -> None:
    for name, text in (("p", THEN), ("q", NOW)):
        (folder / name).mkdir()
        (folder / name / "nets.py").write_text(text)
        shutil.copy(folder / "own.yaml", folder / name)
    (folder / "nets.py").unlink()
    for name, text in (("p", THEN), ("q", NOW), ("p", THEN)):
        [file] = read_code(load_sweep(f"{name}/own.yaml"))
        assert file.content == text.encode() and run_file("nets.py")["WIDTH"] == (4 if text == THEN else 5)


def test_an_edited_teacher_is_another_teacher(folder: Path) -> None:
    write_sweep(folder, trial={"teacher": "nets.py:Small"})
    storage = str(folder / "runs")
    inline, out = BackendChoice(name="inline"), io.StringIO()
    for sweep_id, text in (("a", THEN), ("b", NOW)):
        (folder / "nets.py").write_text(text)
        sweep = load_sweep("own.yaml", flags={"storage": storage})
        with pytest.raises(TeacherError, match="is expected"):  # so small a network learns little in one epoch
            run_sweep(sweep, sweep_id=sweep_id, backend=inline, console=Console(file=out, width=200))
    assert out.getvalue().count("training the teacher") == 2


def test_every_file_on_which_numbers_depend_goes_with_the_sweep(folder: Path) -> None:
    (folder / "more, parts.py").write_text(
        "def gap(student, teacher):\n    return (student - teacher).pow(2)\n\n"
        "def largest(training):\n    return 1.0\n\n"
    )
    for name in ("a.py", "b.py", "c.py"):
        shutil.copy(folder / "nets.py", folder / name)
    (folder / "space.py").write_text(
        "def space(trial):\n"
        "    student = trial.suggest_categorical('student', ['a.py:Small', 'b.py:Small', 'lenet'])\n"
        "    return {'student': student, 'student_divergence': 'more, parts.py:gap'}\n"
    )
    write_sweep(folder, trial={"metrics": "c.py:WIDTH,a.py:WIDTH"}, space="space.py:space")
    content = yaml.safe_load((folder / "own.yaml").read_text())
    del content["trial"]["student"]
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    sweep = load_sweep("own.yaml")
    space, domains = resolve_domains(sweep)
    code = read_code(sweep, values_in(space, sweep.trial, domains))
    # The space's own file is not among them: what it varies is compared as domains.
    assert [file.name for file in code] == ["a.py", "b.py", "c.py", "more, parts.py"]


def test_what_was_read_runs_whatever_becomes_of_the_file(folder: Path) -> None:
    file = own_file("nets.py")
    (folder / "nets.py").write_text(NOW)
    assert run_file("nets.py")["WIDTH"] == 4 and own_file("nets.py").sha256 == file.sha256
    (folder / "nets.py").unlink()
    assert run_file("nets.py")["WIDTH"] == 4
    own_files.hold([OwnFile(name="nets.py", path="/nowhere/nets.py", content=NOW.encode())])
    assert run_file("nets.py")["WIDTH"] == 5


@pytest.mark.ray
def test_a_machine_that_cannot_run_a_file_is_named(ray_local: None) -> None:
    lacking = OwnFile(name="nets.py", path="/nowhere/nets.py", content=b"import a_package_that_is_nowhere\n")
    ray_backend._check_code(1, [lacking])  # of one machine the settings' checks have told
    with pytest.raises(
        ConfigError, match=r"a machine of the cluster: nets\.py fails: ModuleNotFoundError: .*installed"
    ):
        ray_backend._check_code(2, [lacking])
    ray_backend._check_code(2, [OwnFile(name="nets.py", path="/nowhere/nets.py", content=THEN.encode())])
