"""Whole sweeps in simulated time: a day passes in seconds, and a second run has the same rows in every column."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmarks.chaos.comparison import differences
from orchestrator.config import SweepConfig
from orchestrator.errors import SweepStoppedError
from orchestrator.results import read_reports, read_sweeps, read_trials
from orchestrator.run.backend import Backend
from orchestrator.run.inline import InlineBackend, StartTrial, SteppedTrial
from orchestrator.run.sweep import BackendChoice, SweepOutcome, run_sweep
from orchestrator.storage import find_storage
from tests.support.simulated import START, SimulatedClock, SimulatedSignals
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits
from trainables.storage.filesystems import LocalFilesystem, PassingError
from trainables.system.own_files import OwnFile
from trainables.trial import TrialInputs, TrialStorage
from trainables.trial_result import Place
from trainables.trial_run import TrialRun

SECONDS = 10.0
"""A report takes so long."""

HOUR = 3600.0


@pytest.fixture(autouse=True, scope="module")
def _few_images() -> Iterator[None]:
    @cache
    def few(*arguments: Any, **more: Any) -> DatasetSplits:
        splits = load_dataset(*arguments, **more)
        some = torch.arange(0, 1000, 20)
        parts = {name: getattr(splits, name).subset(some) for name in ("train", "validation", "test")}
        return replace(splits, **parts)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("orchestrator.inputs.files.load_dataset", few)
        yield


@dataclass(frozen=True, kw_only=True)
class SimulatedBackend(BackendChoice):
    """This process, with trials as a test begins them."""

    start_trial: StartTrial

    def open(self, code: Sequence[OwnFile]) -> AbstractContextManager[Backend]:
        return nullcontext(InlineBackend(cpus=1, gpus=0, start_trial=self.start_trial))


@dataclass(kw_only=True)
class Simulation:
    """Sessions in which a report takes ``SECONDS`` of a simulated clock."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    signals: SimulatedSignals = field(default_factory=SimulatedSignals)
    before_report: Callable[[int], None] = lambda number: None
    """Called with the number of each report, from 1, before it is made."""

    reports: int = 0

    def start(
        self,
        config: Mapping[str, Any],
        *,
        inputs: TrialInputs,
        storage: TrialStorage | None,
        checkpoint_seconds: float,
        place: Place,
    ) -> SteppedTrial:
        run = TrialRun.start(config, inputs=inputs, storage=storage, checkpoint_seconds=checkpoint_seconds, place=place)
        return Timed(run, self)

    def run(self, sweep: SweepConfig) -> tuple[SweepOutcome, str]:
        """One session, and what it printed."""
        random.seed(0)  # pauses between two requests of storage are random
        out = io.StringIO()
        console = Console(file=out, width=300)
        outcome = run_sweep(
            sweep,
            sweep_id="a",
            backend=SimulatedBackend(start_trial=self.start),
            console=console,
            clock=self.clock,
            signals=self.signals,
        )
        return outcome, out.getvalue()

    def storage_is_away(self, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
        """From now on."""
        back, write = self.clock.seconds + seconds, LocalFilesystem.write

        def flaky(filesystem: LocalFilesystem, path: str, data: bytes) -> None:
            if self.clock.seconds < back:
                raise PassingError("SlowDown (HTTP 503)")
            write(filesystem, path, data)

        monkeypatch.setattr(LocalFilesystem, "write", flaky)


class Timed:
    """A trial whose reports take simulated time."""

    def __init__(self, run: TrialRun, simulation: Simulation) -> None:
        self.run = run
        self.simulation = simulation

    def step(self) -> dict[str, Any]:
        self.simulation.reports += 1
        self.simulation.before_report(self.simulation.reports)
        self.simulation.clock.sleep(SECONDS)
        return self.run.step()

    def close(self) -> list[str]:
        return self.run.close()


def sweep_on(folder: Path, **changes: Any) -> SweepConfig:
    """Three trials of two reports."""
    settings: dict[str, Any] = {
        "name": "simulated",
        "trial": {
            "method": "supervised",
            "dataset": "digits",
            "student": "lenet",
            "validation_fraction": 0.5,
            "batch_size": 32,
            "full_data_epochs": 2,
            "evaluation_interval": 1,
        },
        "space": {"learning_rate": {"type": "float", "low": 0.01, "high": 0.1}},
        "num_trials": 3,
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "checkpoint_seconds": 0,
        "storage": {"uri": str(folder), "patience_seconds": 60},
    }
    return SweepConfig.model_validate(settings | changes)


def kept(sweep: SweepConfig) -> list[list[dict[str, Any]]]:
    """All rows of a sweep, in all columns: of its trials, their reports, and its sessions."""
    store = find_storage(sweep.storage)
    return [read(store, "a").to_pylist() for read in (read_trials, read_reports, read_sweeps)]


def seconds_of(sweep: SweepConfig, column: str) -> list[float]:
    read = read_reports if column == "reported_at" else read_trials
    moments = read(find_storage(sweep.storage), "a")[column].to_pylist()
    return sorted((moment - START) / timedelta(seconds=1) for moment in moments)


def test_time_moves_by_what_reports_take_and_by_nothing_else(tmp_path: Path) -> None:
    sweep, simulation = sweep_on(tmp_path), Simulation()
    assert simulation.run(sweep)[0].finished
    assert seconds_of(sweep, "reported_at") == [SECONDS * number for number in range(1, 7)]
    assert seconds_of(sweep, "ended_at") == [20, 40, 60]
    assert simulation.clock.slept == [SECONDS] * 6
    events = read_sweeps(find_storage(sweep.storage), "a").to_pylist()
    assert {(row["event"], row["at"]) for row in events} == {
        ("started", START),
        ("finished", START + timedelta(seconds=60)),
    }
    trials = read_trials(find_storage(sweep.storage), "a").to_pylist()
    assert {(row["training_seconds"], row["evaluation_seconds"]) for row in trials} == {(0.0, 0.0)}


def test_an_outage_of_hours_passes_at_once_and_comes_out_alike_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(where: str, *, outage: float) -> tuple[list[list[dict[str, Any]]], str]:
        sweep, simulation = sweep_on(tmp_path / where), Simulation()
        with monkeypatch.context() as patched:

            def break_storage(number: int) -> None:
                if number == 3:
                    simulation.storage_is_away(patched, seconds=outage)

            simulation.before_report = break_storage
            outcome, printed = simulation.run(sweep)
        assert outcome.finished
        return kept(sweep), printed

    first, second = run("one", outage=5 * HOUR), run("two", outage=5 * HOUR)
    assert repr(first).replace(f"{tmp_path}/one", "here") == repr(second).replace(f"{tmp_path}/two", "here")
    (trials, reports, sessions), printed = first
    assert "answers again after a pause of 5.0 h" in printed
    assert [(row["session"], row["event"]) for row in sessions] == [(0, "started"), (1, "started"), (1, "finished")]
    assert 5 * HOUR < (max(row["reported_at"] for row in reports) - START).total_seconds() < 5 * HOUR + 200
    assert differences(trials, run("undisturbed", outage=0)[0][0]) == []


def test_a_limit_of_spending_is_reached_by_simulated_seconds(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(f"machines: {{{os.uname().nodename}: {{on_demand: 3600}}}}")  # a dollar a second
    sweep = sweep_on(tmp_path / "runs", budget={"usd": 45}, prices=str(prices))
    outcome, printed = Simulation().run(sweep)
    assert not outcome.finished
    assert outcome.out_of_budget == "40 of 45 USD spent"
    assert "budget reached: 40 of 45 USD spent, about 20 USD for another" in printed
    assert [row["cost_usd"] for row in read_trials(find_storage(sweep.storage), "a").to_pylist()] == [20, 20]


def test_sigterm_between_two_reports_leaves_a_sweep_that_goes_on(tmp_path: Path) -> None:
    sweep, simulation = sweep_on(tmp_path), Simulation()

    def terminate(number: int) -> None:
        if number == 4:
            simulation.signals.terminate()

    simulation.before_report = terminate
    assert not simulation.run(sweep)[0].finished
    assert read_sweeps(find_storage(sweep.storage), "a")["event"].to_pylist() == ["started", "interrupted"]
    assert seconds_of(sweep, "reported_at") == [10, 20, 30]
    assert simulation.run(sweep)[0].finished
    assert len(seconds_of(sweep, "ended_at")) == 3


def test_sigterm_while_a_teacher_would_be_made_ready_ends_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, simulation = sweep_on(tmp_path), Simulation()

    def prepare(*_: Any, **__: Any) -> None:
        simulation.clock.sleep(1)
        simulation.signals.terminate()

    monkeypatch.setattr("orchestrator.run.session.prepare_inputs", prepare)
    assert not simulation.run(sweep)[0].finished
    assert read_sweeps(find_storage(sweep.storage), "a")["event"].to_pylist() == ["started", "interrupted"]


def test_sigterm_ends_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, simulation = sweep_on(tmp_path), Simulation()

    class Impatient(SimulatedClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.seconds > HOUR:
                simulation.signals.terminate()

    simulation.clock = Impatient()
    simulation.before_report = lambda number: simulation.storage_is_away(monkeypatch, seconds=10 * HOUR)
    with pytest.raises(SweepStoppedError, match="the same command resumes this sweep"):
        simulation.run(sweep)
    assert simulation.clock.seconds < HOUR + 20
