"""Sweeps whose parts are a user's own, in a file: they run, are read whatever has become of the file, and name it if it is
needed and gone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.cli import app
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError, SweepMismatchError
from orchestrator.results import ResultWriter, SessionEvent, SweepResults, TrialState
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.results.sessions import session_row
from orchestrator.run.checks import check_same_sweep
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.search.space import resolve_domains
from orchestrator.search.warm_start import past_trials
from orchestrator.storage import SweepStore, find_storage
from tests.support.own_parts import METHOD, METRICS, SPACE
from tests.support.rows import trial
from tests.support.tiny import tiny_settings
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits
from trainables.storage.object_store import ObjectStore
from trainables.system import own_files

MINE = """
import torch
from torch import nn
from trainables.networks import Network

class Small(Network):
    def __init__(self, num_classes, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 5, stride=4)
        self.last = nn.Linear(4, num_classes)

    def forward(self, images):
        first = torch.relu(self.first(images))
        return self.last(first.mean((2, 3))), [first]

def squared(student, teacher):
    return (student - teacher).pow(2)
"""
RECIPE = {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32}


@pytest.fixture(autouse=True, scope="module")
def _few_images() -> Iterator[None]:
    """Measuring on all digits takes longer than the trials."""

    @cache
    def few(*arguments: Any, **more: Any) -> DatasetSplits:
        splits = load_dataset(*arguments, **more)
        some = torch.arange(0, len(splits.test), -(-len(splits.test) // 100))
        return replace(splits, validation=splits.validation.subset(some), test=splits.test.subset(some))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("orchestrator.inputs.files.load_dataset", few)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user has a file of parts, and works."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    monkeypatch.chdir(folder)
    own_files.forget()
    return folder


def write_sweep(folder: Path, **changes: Any) -> str:
    trial = tiny_settings(validation_fraction=0.5, student_steps=1, total_pseudo_batches=2, evaluation_interval=1)
    trial |= changes.pop("trial", {})
    for field in changes.get("space", SPACE):
        trial.pop(field, None)
    content = {
        "name": "own",
        "trial": trial,
        "space": SPACE,
        "num_trials": 2,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": RECIPE,
        "storage": str(folder / "runs"),
        **changes,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "own.yaml")


def run(sweep: SweepConfig, sweep_id: str = "a") -> str:
    """Run a whole sweep in this process; what it said."""
    out = io.StringIO()
    assert run_sweep(
        sweep, sweep_id=sweep_id, backend=BackendChoice(name="inline"), console=Console(file=out, width=200)
    ).finished
    return out.getvalue()


def zskt(*arguments: str, storage: Path) -> tuple[int, str]:
    """Exit code and output of a command, which has read no file yet."""
    own_files.forget()
    result = CliRunner().invoke(app, [*arguments, "--storage", str(storage)], catch_exceptions=False)
    return result.exit_code, result.output


READING = (["results", "a"], ["status", "a"], ["report", "a"])
RUNNING = (["rerun", "a", "t0000", "--backend", "inline"], ["confirm", "a", "--seeds", "2", "--backend", "inline"])


@pytest.mark.timeout(240)
def test_a_stored_sweep_is_read_from_any_folder_and_what_runs_it_names_the_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"student": "mine.py:Small", "student_divergence": "mine.py:squared", "attention_weight": 0.0}
    file = write_sweep(home, trial=own)
    run(load_sweep(file))
    monkeypatch.chdir(tmp_path)
    for command in READING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 0, output
        assert "validation_accuracy" in output or command[0] == "report"
    (home / "mine.py").rename(home / "other.py")
    for command in RUNNING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 2 and f"sweep a runs mine.py, and there is no such file in {tmp_path}" in output
    with pytest.raises(ConfigError, match=r"network 'mine\.py:Small': there is no file mine\.py in"):
        load_sweep(file)


SUPERVISED = {
    **{
        "method": "mine.py:AVERAGED",
        "dataset": "digits",
        "student": "lenet",
        "batch_size": 16,
        "validation_fraction": 0.5,
    },
    **{"full_data_epochs": 2, "images_per_class": 2, "iteration_scale": 1e-2, "evaluation_interval": 2},
}


@pytest.mark.timeout(240)
def test_a_method_of_a_file_is_searched_kept_and_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "mine.py").write_text(METHOD)
    file = home / "own.yaml"
    content = {
        **{"name": "own", "trial": SUPERVISED, "num_trials": 2, "storage": str(home / "runs")},
        **{"space": {"decay": {"type": "float", "low": 0.1, "high": 0.9}}, "scheduler": {"name": "none"}},
    }
    file.write_text(yaml.safe_dump(content))
    run(load_sweep(str(file)))
    rows = SweepResults(SweepStore(find_storage(str(home / "runs")), "a")).trials()
    assert [row.settings["decay"] for row in rows] == [0.9, rows[1].config.model_dump()["decay"]]
    assert rows[0].metrics["student_loss"] != rows[1].metrics["student_loss"]
    assert zskt("rerun", "a", "t0001", "--backend", "inline", storage=home / "runs")[0] == 0
    monkeypatch.chdir(tmp_path)
    for command in READING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 0, output
        assert "decay" in output or command[0] == "report"
    (home / "mine.py").rename(home / "other.py")
    for command in RUNNING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 2 and f"sweep a runs mine.py, and there is no such file in {tmp_path}" in output


def test_fields_of_a_method_of_a_file_are_what_their_roles_say(home: Path, store: ObjectStore) -> None:
    (home / "mine.py").write_text(METHOD)

    def sweep_of(warm_start: Sequence[str] = (), **fields: Any) -> SweepConfig:
        space = {"decay": {"type": "float", "low": 0.1, "high": 0.9}}
        values = {"name": "own", "trial": {**SUPERVISED, **fields}, "space": space, "warm_start": list(warm_start)}
        return SweepConfig.model_validate(values)

    sweep = sweep_of(noise_seed=6)
    results, writer = SweepResults(SweepStore(store, "a")), ResultWriter(SweepStore(store, "a"))
    writer.write_session(session_row(sweep, ["decay"], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0))
    for number, decay in enumerate((0.3, 0.9)):
        config = sweep.trial_config({"decay": decay})
        columns = {CONFIG_PREFIX + name: value for name, value in config.model_dump().items()}
        writer.write_trial(trial(f"t{number:04d}", **columns))

    check_same_sweep(results.sweep_store, sweep_of(noise_seed=6, may_wait=True))
    for other in (sweep_of(noise_seed=7), sweep_of(noise_seed=6, rounds=2)):
        with pytest.raises(SweepMismatchError, match="trial: "):
            check_same_sweep(results.sweep_store, other)

    _, confirming = confirmation_sweep(read_leaderboard(results), top=1, seeds=2)
    assert [config.model_dump()["noise_seed"] for config in confirming.configs()] == [None] * 4
    assert confirming.seeds == [7, 8]

    said: list[str] = []
    later = sweep_of(["a"])
    _, domains = resolve_domains(later)
    assert len(past_trials(SweepStore(store, "b"), later, domains, say=said.append)) == 2
    longer = sweep_of(["a"], rounds=2)
    with pytest.raises(ConfigError, match="2 left out: rounds=1, here 2"):
        past_trials(SweepStore(store, "c"), longer, domains, say=said.append)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("averaged", "method=averaged: unknown; allowed: zero_shot, data_free, supervised, or FILE.py:NAME"),
        ("mine.py:GONE", "mine.py defines no GONE"),
        ("mine.py:NOTHING", "expected a trainables.config.methods.Method, found 7"),
    ],
)
def test_what_is_no_method_is_refused(method: str, message: str, home: Path) -> None:
    (home / "mine.py").write_text(METHOD)
    with pytest.raises(ConfigError, match=message):
        load_sweep(write_sweep(home, trial={"method": method}))


@pytest.mark.timeout(240)
def test_metrics_of_a_file_are_columns_and_may_be_what_a_search_goes_by(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "mine.py").write_text(METRICS)
    trial = {
        **SUPERVISED,
        "method": "supervised",
        "metrics": "mine.py:images",
        "dataset": "mine.py:dots",
        "iteration_scale": 1,
    }
    content = {
        **{
            "name": "own",
            "trial": trial,
            "num_trials": 2,
            "storage": str(home / "runs"),
            "scheduler": {"name": "none"},
        },
        **{
            "space": {"learning_rate": {"type": "float", "low": 0.01, "high": 0.2}},
            "constraints": {"mine.py:images": {"at_least": 1}},
        },
        **{"objective": "mine.py:largest", "mode": "min"},
    }
    (home / "own.yaml").write_text(yaml.safe_dump(content))
    sweep = load_sweep(str(home / "own.yaml"))
    assert sweep.trial["metrics"] == "mine.py:images,mine.py:largest"
    assert SweepConfig.stored(sweep.model_dump_json()).identity == sweep.identity
    run(sweep)
    results = SweepResults(SweepStore(find_storage(str(home / "runs")), "a"))
    rows = results.trials()
    for row in rows:
        last = [report for report in results.reports() if report["trial_id"] == row.trial_id][-1]
        assert row.objective == row.metrics["mine.py:largest"] == last["mine.py:largest"] > 0
        assert row.metrics["mine.py:images"] > 1 and row.feasible and row.state is TrialState.COMPLETED
    assert zskt("rerun", "a", "t0001", "--backend", "inline", storage=home / "runs")[0] == 0
    monkeypatch.chdir(tmp_path)
    own_files.forget()  # as in another process
    for command in READING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 0, output
        assert "mine.py:largest" in output or command[0] == "report"
    (home / "mine.py").rename(home / "other.py")
    for command in RUNNING:
        code, output = zskt(*command, storage=home / "runs")
        assert code == 2 and f"sweep a runs mine.py, and there is no such file in {tmp_path}" in output


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_a_method_a_data_set_and_a_metric_of_files_go_to_rays_processes(home: Path, ray_local: None) -> None:
    (home / "mine.py").write_text(METHOD)
    (home / "data.py").write_text(METRICS)
    trial = {**SUPERVISED, "dataset": "data.py:dots", "metrics": "data.py:largest,data.py:images"}
    content = {
        **{"name": "own", "trial": trial, "num_trials": 2, "storage": str(home / "runs")},
        **{"space": {"decay": {"type": "float", "low": 0.1, "high": 0.9}}, "scheduler": {"name": "none"}},
    }
    (home / "own.yaml").write_text(yaml.safe_dump(content))
    out = io.StringIO()
    sweep = load_sweep(str(home / "own.yaml"))
    assert run_sweep(sweep, sweep_id="a", console=Console(file=out, width=200)).finished, out.getvalue()
    rows = SweepResults(SweepStore(find_storage(str(home / "runs")), "a")).trials()
    assert [row.state for row in rows] == [TrialState.COMPLETED] * 2, out.getvalue()
    assert all(row.metrics["data.py:largest"] > 0 and row.metrics["data.py:images"] == 8 for row in rows)


def test_a_metric_that_nothing_has_is_refused(home: Path) -> None:
    (home / "mine.py").write_text(METRICS)
    for changes, message in (
        (
            {"objective": "mine.py:smallest"},
            "objective='mine.py:smallest': metric 'mine.py:smallest': mine.py defines no",
        ),
        ({"trial": {"metrics": "mine.py:largest, gone.py:a"}}, "metric 'gone.py:a': there is no file gone.py in"),
        ({"objective": "validation_acuracy"}, "did you mean validation_accuracy"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_sweep(write_sweep(home, **changes))


def test_a_budget_in_operations_is_read_without_the_network_that_is_counted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"unit": "flops", "amount": 10_000_000_000}
    own = {"student": "mine.py:Small", "attention_weight": 0.0}
    file = Path(write_sweep(home, trial=own, budget=budget))
    content = yaml.safe_load(file.read_text())
    del content["trial"]["total_pseudo_batches"]  # follows from the operations of a pseudo batch
    file.write_text(yaml.safe_dump(content))
    sweep = load_sweep(str(file))
    assert SweepConfig.stored(sweep.model_dump_json()).configs() == sweep.configs()
    monkeypatch.chdir(tmp_path)
    own_files.forget()
    assert SweepConfig.stored(sweep.model_dump_json()).configs()[0].student == "mine.py:Small"
