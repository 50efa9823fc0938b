"""Whole sweeps in one process, without Ray: what is run, in which order, and what is left where it ends."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from rich.console import Console

from benchmarks.chaos.comparison import differences
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, PartError, StorageError
from orchestrator.inputs.prepare import prepare_inputs
from orchestrator.results import SweepResults, read_reports, read_sweeps, read_trials
from orchestrator.run.inline import InlineBackend
from orchestrator.run.sweep import BackendChoice, SweepOutcome, run_sweep
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage
from tests.support.few_images import few_images
from tests.support.paths import ROOT
from tests.support.tiny import tiny_settings
from trainables.system import own_files
from trainables.training.distiller import ZeroShotDistiller
from trainables.trial import RunningTrial

INLINE = BackendChoice(name="inline")
RECIPE = {"full_data_epochs": 2, "learning_rate": 0.05, "batch_size": 32}
SPACE = {"temperature": {"type": "float", "low": 1, "high": 4}}


def sweep_of(storage: str, **changes: Any) -> SweepConfig:
    settings: dict[str, Any] = {
        "name": "tiny",
        "trial": tiny_settings(validation_fraction=0.5, student_steps=1),
        "space": SPACE,
        "num_trials": 3,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "teacher_recipe": RECIPE,
        "storage": storage,
    }
    settings["trial"] |= changes.pop("trial", {})
    for field in changes.get("space", {}):
        settings["trial"].pop(field, None)
    return SweepConfig.model_validate(settings | changes)


def run(sweep: SweepConfig, sweep_id: str = "a", *, concurrency: int = 1, **more: Any) -> tuple[SweepOutcome, str]:
    """One session, and what it printed."""
    out = io.StringIO()
    choice = BackendChoice(name="inline", concurrency=concurrency)
    outcome = run_sweep(sweep, sweep_id=sweep_id, backend=choice, console=Console(file=out, width=200), **more)
    return outcome, out.getvalue()


def trials(storage: str, sweep_id: str = "a") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_trials(find_storage(storage), sweep_id).to_pylist()
    return rows


def order_of_reports(storage: str, sweep_id: str = "a") -> list[tuple[str, int]]:
    """Trials and their pseudo batches, as they reported."""
    rows = read_reports(find_storage(storage), sweep_id).to_pylist()
    return [(row["trial_id"], row["pseudo_batches"]) for row in sorted(rows, key=lambda row: row["reported_at"])]


def ends(storage: str, sweep_id: str = "a") -> list[TrialState]:
    return [trial.state for trial in open_study(SweepStore(find_storage(storage), sweep_id), modes=["max"]).trials]


@pytest.fixture(autouse=True, scope="module")
def _few_images() -> Iterator[None]:
    with few_images():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the weights of a teacher, trained once, in this process."""
    folder = tmp_path_factory.mktemp("trained")
    sweep = sweep_of(str(folder / "runs"))
    said: list[str] = []
    inputs = prepare_inputs(sweep, find_storage(sweep.storage), tasks=InlineBackend(), say=said.append)
    (teacher,) = inputs.teachers.values()
    assert "training the teacher, lenet on digits, 2 epochs" in said[0] and "teacher lenet on digits: epoch" in said[1]
    torch.save(dict(teacher.weights), folder / "lenet.pt")
    return str(folder / "lenet.pt")


@pytest.fixture
def sweep(tmp_path: Path, trained: str) -> Callable[..., SweepConfig]:
    """Makes sweeps on a storage of the test's own, whose teacher is there."""

    def make(**changes: Any) -> SweepConfig:
        changes["trial"] = {"teacher_checkpoint": trained, **changes.get("trial", {})}
        return sweep_of(str(tmp_path), **changes)

    return make


Make = Callable[..., SweepConfig]


def test_a_search_ends_with_rows_and_a_study_and_trials_run_one_after_the_other(sweep: Make, tmp_path: Path) -> None:
    outcome, printed = run(sweep())
    assert outcome.finished
    rows = trials(str(tmp_path))
    assert [(row["trial_id"], row["state"], row["pseudo_batches"]) for row in rows] == [
        (f"t000{number}", "completed", 4) for number in range(3)
    ]
    assert {(row["hostname"], row["node_type"], row["threads"], row["gpu_seconds"]) for row in rows} == {
        (os.uname().nodename, os.uname().nodename, 1, 0.0)
    }
    assert ends(str(tmp_path)) == [TrialState.COMPLETE] * 3
    assert order_of_reports(str(tmp_path)) == [(f"t000{n}", done) for n in range(3) for done in (2, 4)]
    store = find_storage(str(tmp_path))
    assert read_sweeps(store, "a")["event"].to_pylist() == ["started", "finished"]
    assert "t0002 completed" in printed


def test_trials_take_turns_and_each_comes_out_as_if_it_were_alone(sweep: Make, tmp_path: Path) -> None:
    search = sweep(num_trials=4)
    run(search, "alone")
    run(search, "together", concurrency=3)
    assert order_of_reports(str(tmp_path), "together") == [
        *((f"t000{n}", done) for done in (2, 4) for n in range(3)),
        *(("t0003", done) for done in (2, 4)),
    ]
    ours, theirs = (trials(str(tmp_path), name) for name in ("together", "alone"))
    assert beside_costs(differences(ours, theirs)) == []


def test_far_more_trials_may_take_turns_than_there_are(sweep: Make, tmp_path: Path) -> None:
    assert run(sweep(num_trials=2), concurrency=10**12)[0].finished
    assert order_of_reports(str(tmp_path)) == [(f"t000{n}", done) for done in (2, 4) for n in range(2)]


def beside_costs(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Differences without what a trial's place costs, and which process it is."""
    return [each for each in found if each[2] not in {"gpu_seconds", "cost_usd", "pid"}]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("batch", [1, 6])
def test_an_interrupted_sweep_ends_bit_for_bit_as_an_undisturbed_one(
    sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, concurrency: int
) -> None:
    search = sweep(checkpoint_seconds=0)
    run(search, "undisturbed", concurrency=concurrency)
    done = 0
    train = ZeroShotDistiller.step

    def interrupted(distiller: ZeroShotDistiller) -> None:
        nonlocal done
        done += 1
        if done == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        train(distiller)

    with monkeypatch.context() as patched:
        patched.setattr(ZeroShotDistiller, "step", interrupted)
        outcome, _ = run(search, "disturbed", concurrency=concurrency)
    assert not outcome.finished
    assert read_sweeps(find_storage(str(tmp_path)), "disturbed")["event"].to_pylist() == ["started", "interrupted"]
    assert run(search, "disturbed", concurrency=concurrency)[0].finished
    ours, theirs = (trials(str(tmp_path), name) for name in ("disturbed", "undisturbed"))
    assert beside_costs(differences(ours, theirs)) == []


def test_more_trials_extend_a_sweep(sweep: Make, tmp_path: Path) -> None:
    run(sweep(num_trials=2))
    before = trials(str(tmp_path))
    assert "2 ended before, 0 resume from their checkpoints, 1 are new" in run(sweep(num_trials=3))[1]
    assert trials(str(tmp_path))[:2] == before
    assert len(trials(str(tmp_path))) == 3
    assert "all of them have ended" in run(sweep(num_trials=3))[1]


def cases_of(storage: str) -> SweepConfig:
    """Of four cases one starts from another, one fails and one diverges."""
    settings = {"method": "supervised", "images_per_class": 50, "full_data_epochs": 1, "learning_rate": 0.05}
    return SweepConfig.model_validate(
        {
            "name": "cases",
            "trial": {"dataset": "digits", "student": "lenet", "validation_fraction": 0.5, "batch_size": 32},
            "cases": {
                "scratch": settings,
                "tuned": settings | {"initial_student": "case:scratch"},
                "failing": settings | {"initial_student": "elsewhere/t0000"},
                "diverging": settings | {"learning_rate": 1e30},
            },
            "seeds": [0, 1],
            "storage": storage,
        }
    )


def test_cases_wait_for_those_that_they_start_from_and_fail_or_diverge_alone(tmp_path: Path) -> None:
    assert run(cases_of(str(tmp_path)), concurrency=3)[0].finished
    rows = trials(str(tmp_path))
    states = {(row["case"], row["config_seed"]): row["state"] for row in rows}
    wanted = {"scratch": "completed", "tuned": "completed", "failing": "failed", "diverging": "diverged"}
    assert states == {(case, seed): state for case, state in wanted.items() for seed in (0, 1)}
    scratch = {row["config_seed"]: row["trial_id"] for row in rows if row["case"] == "scratch"}
    starts = {row["config_seed"]: row["config_initial_student"] for row in rows if row["case"] == "tuned"}
    assert starts == {seed: f"a/{key}" for seed, key in scratch.items()}
    (error,) = {row["error"] for row in rows if row["state"] == "failed"}
    assert error.startswith("StudentError: there is no student elsewhere/t0000")
    again = run(cases_of(str(tmp_path)))[1]
    assert "6 ended before, 0 resume from their checkpoints, 2 are new, 2 of them because they failed before" in again


def failing_saver(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> None:
    """Have so many reports of t0001 fail, after its first."""
    report, left = RunningTrial.report, times

    def broken(trial: RunningTrial) -> dict[str, Any]:
        nonlocal left
        if trial.trial_id == "t0001" and trial.training.done and left:
            left -= 1
            raise error
        return report(trial)

    monkeypatch.setattr(RunningTrial, "report", broken)


def test_what_may_pass_is_tried_again_from_the_last_checkpoint(
    sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = sweep(checkpoint_seconds=0, max_failures=2)
    run(search, "undisturbed")
    failing_saver(monkeypatch, OSError(5, "input/output error"), times=2)
    outcome, printed = run(search)
    assert outcome.finished
    assert (
        printed.count("t0001 is tried again from its last checkpoint, after: OSError: [Errno 5] input/output error")
        == 2
    )
    assert beside_costs(differences(trials(str(tmp_path)), trials(str(tmp_path), "undisturbed"))) == []
    records = SweepResults(SweepStore(find_storage(str(tmp_path)), "a")).trials()
    assert [record.recovery_causes for record in records] == [
        {},
        {"OSError: [Errno 5] input/output error": 2},
        {},
    ]


def test_what_does_not_pass_fails_the_trial_and_the_sweep_goes_on(
    sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_saver(monkeypatch, OSError(5, "input/output error"), times=9)
    assert run(sweep(checkpoint_seconds=0, max_failures=1))[0].finished
    rows = trials(str(tmp_path))
    assert [row["state"] for row in rows] == ["completed", "failed", "completed"]
    assert (rows[1]["error"], rows[1]["recoveries"]) == ("OSError: [Errno 5] input/output error", 1)


def test_too_little_memory_of_a_part_of_a_gpu_is_tried_with_twice_as_much(
    sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("orchestrator.run.sweep.inline_backend", gpu_backend)
    failing_saver(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), times=2)
    outcome, printed = run(sweep(resources={"cpu": 1, "gpu": 0.25}, checkpoint_seconds=0))
    assert outcome.finished
    assert "OutOfMemoryError: CUDA out of memory; it had 0.25 of a GPU and gets 0.5" in printed
    rows = trials(str(tmp_path))
    assert [row["state"] for row in rows] == ["completed", "failed", "completed"]
    assert "it had 0.5 of a GPU: lower batch_size" in rows[1]["error"]


class _Gpu:
    def __enter__(self) -> InlineBackend:
        return InlineBackend(gpus=1)

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""


def gpu_backend(*, concurrency: int) -> _Gpu:
    """A process with a GPU, as far as its machine goes."""
    return _Gpu()


def test_early_stopping_stops_what_is_worse_at_a_rung(sweep: Make, tmp_path: Path) -> None:
    # The objective is the learning rate's own size, so that no two trials are equal and luck decides nothing.
    rates = {"student_lr": {"type": "float", "low": 1e-8, "high": 1e-2, "log": True}}
    asha = {"name": "asha", "grace": 0.25, "reduction_factor": 2, "smoothing": 1}
    search = sweep(space=rates, scheduler=asha, trial={"total_pseudo_batches": 8}, objective="student_lr", num_trials=6)
    assert run(search)[0].finished
    rows = trials(str(tmp_path))
    best = 0.0
    for row in rows:  # one after the other: those that are worse than the median so far stop
        assert (row["state"] == "completed") == (row["config_student_lr"] >= best) or row["pseudo_batches"] > 2
        best = max(best, row["config_student_lr"])
    told = ends(str(tmp_path))
    assert told == [TrialState.PRUNED if row["state"] == "stopped_early" else TrialState.COMPLETE for row in rows]
    assert TrialState.PRUNED in told


def test_a_trial_of_which_no_more_is_wanted_ends_there(sweep: Make, tmp_path: Path) -> None:
    run(sweep(num_trials=1), until={"pseudo_batches": 2})
    assert [(row["state"], row["pseudo_batches"]) for row in trials(str(tmp_path))] == [("stopped_early", 2)]


def test_a_population_takes_over_from_its_last_generation(sweep: Make, tmp_path: Path) -> None:
    pbt = {"name": "pbt", "population": 3, "generations": 2}
    search = sweep(scheduler=pbt, num_trials=6)
    assert run(search, concurrency=2)[0].finished
    rows = trials(str(tmp_path))
    assert [row["config_initial_trial"] is None for row in rows] == [True] * 3 + [False] * 3
    assert [row["pseudo_batches"] for row in rows] == [2] * 3 + [4] * 3
    assert [row["state"] for row in rows] == ["stopped_early"] * 3 + ["completed"] * 3


def test_nothing_is_begun_that_would_cost_more_than_it_may(sweep: Make, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"machines: {{{os.uname().nodename}: {{on_demand: 3600}}}}")
    search = sweep(budget={"usd": 1e-9}, prices=str(prices))
    outcome, printed = run(search)
    assert not outcome.finished and "of 1e-09 USD spent" in outcome.out_of_budget
    assert len(trials(str(tmp_path))) == 1
    assert "budget reached" in printed
    assert run(sweep(budget={"usd": 1e9}, prices=str(prices)))[0].finished


def test_a_budget_in_seconds_is_measured_here(sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.run.calibration.flops_per_second", lambda config, **needs: 1e7)
    two = {"student_steps": {"type": "categorical", "choices": [1, 2]}}
    search = sweep(space=two, num_trials=5, budget={"unit": "seconds", "amount": 1})
    outcome, printed = run(search)
    assert outcome.finished
    assert "at 0.01 GFLOP/s as measured here" in printed
    assert "all 2 settings of the space have been tried; 5 trials were asked for" in printed


def test_a_full_disk_ends_the_session_and_the_next_one_goes_on(
    sweep: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.results.writer.ResultWriter.write_trial", full)
        with pytest.raises(StorageError, match="No space left on device"):
            run(sweep())
    assert trials(str(tmp_path)) == []
    assert ends(str(tmp_path)) == [TrialState.RUNNING]
    assert run(sweep())[0].finished
    assert len(trials(str(tmp_path))) == 3


def test_a_trial_that_needs_more_than_there_is_is_refused(sweep: Make) -> None:
    with pytest.raises(ConfigError, match="a trial asks for 999 CPU cores"):
        run(sweep(resources={"cpu": 999, "gpu": 0}))


PARTS = """
from optuna.samplers import RandomSampler

from orchestrator.samplers.base import SamplerConfig, seed_of_trial
from orchestrator.schedulers.base import Decision, SchedulerConfig

BROKEN = "nothing"


def work(what):
    if what == BROKEN:
        raise RuntimeError(f"{what} is broken")  # or another error


class Drawing(RandomSampler):
    def sample_independent(self, *arguments):
        work("drawing")
        return super().sample_independent(*arguments)


class Sampler(SamplerConfig):
    def build(self, *, seed, trial_number):
        work(f"building for {trial_number}")
        return Drawing(seed=seed_of_trial(seed, trial_number))


class Rule:
    def on_report(self, trial_id, used, value):
        work(f"report of {trial_id}")
        return Decision.CONTINUE


class Scheduler(SchedulerConfig):
    def build(self, *, mode, budget, past_reports=()):
        work("rule")
        return Rule()


def space(trial):
    work("suggestion")
    return {"temperature": trial.suggest_float("temperature", 1, 4)}
"""


@pytest.mark.parametrize(
    ("broken", "kind", "part"),
    [
        ("drawing", "RuntimeError", "sampler {file}:Sampler"),
        ("drawing", "OSError", "sampler {file}:Sampler"),
        ("building for 0", "RuntimeError", "sampler {file}:Sampler"),
        ("building for 1", "SystemExit", "sampler {file}:Sampler"),
        ("rule", "OSError", "scheduler {file}:Scheduler"),
        ("report of t0001", "OSError", "scheduler {file}:Scheduler"),
        ("report of t0001", "SystemExit", "scheduler {file}:Scheduler"),
        ("suggestion", "OSError", "space {file}:space"),
    ],
)
def test_code_of_the_users_that_fails_is_named_and_once_mended_the_sweep_goes_on(
    broken: str, kind: str, part: str, sweep: Make, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"

    def search() -> SweepConfig:
        own_files.forget()  # as in another process
        kinds = {"sampler": {"name": f"{file}:Sampler"}, "scheduler": {"name": f"{file}:Scheduler"}}
        return sweep(space=f"{file}:space", checkpoint_seconds=0, **kinds)

    file.write_text(PARTS)
    run(search(), "undisturbed")
    file.write_text(PARTS.replace('"nothing"', f'"{broken}"').replace("RuntimeError", kind))
    with pytest.raises(PartError, match=re.escape(f"{part.format(file=file)} fails: {kind}: {broken} is broken.")):
        run(search())
    file.write_text(PARTS)
    assert run(search())[0].finished
    assert beside_costs(differences(trials(str(tmp_path)), trials(str(tmp_path), "undisturbed"))) == []


NO_RAY = """
import sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ImportError("no Ray here")

sys.meta_path.insert(0, NoRay())
from orchestrator.cli import run_sweep_main
run_sweep_main()
"""


def test_ray_is_not_even_imported(tmp_path: Path, trained: str) -> None:
    command = [sys.executable, "-c", NO_RAY, "quickstart", "--backend", "inline", "--storage", str(tmp_path)]
    tiny = {"total_pseudo_batches": 2, "evaluation_interval": 1, "batch_size": 4, "teacher_checkpoint": trained}
    settings = [word for name, value in tiny.items() for word in ("--set", f"{name}={value}")]
    ran = subprocess.run(
        [*command, *settings, "--num-trials", "3", "--cpus", "1", "--gpus", "0"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "3 of 3 trials ended" in ran.stdout


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("kind", ["search", "cases"])
def test_a_sweep_ends_equal_here_and_on_ray(kind: str, sweep: Make, tmp_path: Path) -> None:
    """In all columns but times, host and cost."""
    whole = sweep() if kind == "search" else cases_of(str(tmp_path))
    # Of several cases at once, the one that ends first decides which begins next.
    at_once = 2 if kind == "search" else 1
    assert run(whole, "here", concurrency=at_once)[0].finished
    choice, out = BackendChoice(name="ray", concurrency=at_once), Console(file=io.StringIO())
    assert run_sweep(whole, sweep_id="there", backend=choice, console=out).finished
    for read in (read_trials, read_reports):
        ours, theirs = (
            sorted(
                read(find_storage(str(tmp_path)), sweep_id).to_pylist(),
                key=lambda row: (row["trial_id"], row["pseudo_batches"] or 0, row["epochs"] or 0),
            )
            for sweep_id in ("here", "there")
        )
        for row in ours:  # the student of a case carries its sweep's name
            if (row.get("config_initial_student") or "").startswith("here/"):
                row["config_initial_student"] = "t" + row["config_initial_student"]
        assert beside_costs(differences(ours, theirs)) == []
    here, there = (
        [(trial.state, trial.params, trial.values) for trial in open_study(places, modes=["max"]).trials]
        for places in (SweepStore(find_storage(str(tmp_path)), sweep_id) for sweep_id in ("here", "there"))
    )
    assert here == there
