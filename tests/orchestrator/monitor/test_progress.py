from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.config import SweepConfig
from orchestrator.formatting import duration
from orchestrator.monitor.live import Progress
from orchestrator.results import TrialState
from tests.support.simulated import SimulatedClock
from trainables.config import ZeroShotConfig
from trainables.system.clock import SYSTEM_CLOCK, Clock


def progress(*, terminal: bool = False, clock: Clock = SYSTEM_CLOCK) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, height=20, color_system=None)
    view = Progress(
        console=console,
        sweep=SweepConfig(name="test"),
        searched=["student_steps", "temperature"],
        num_trials=lambda: 4,
        clock=clock,
    )
    return view, out


def report(done: int, accuracy: float) -> dict[str, float]:
    return {"pseudo_batches": done, "validation_accuracy": accuracy}


SETTINGS = {"student_steps": 5, "temperature": 1.23456, "seed": 0}
CONFIG = ZeroShotConfig(total_pseudo_batches=100)


def test_where_there_is_no_terminal_each_event_is_a_line() -> None:
    view, out = progress()
    with view:
        view.started("t0000", SETTINGS, CONFIG)
        view.reported("t0000", report(50, 0.5))
        view.recovering("t0000", "worker died")
        view.started("t0000", SETTINGS, CONFIG)
        view.reported("t0000", report(100, 0.7))
        view.ended("t0000", TrialState.COMPLETED, "")
        view.started("t0001", SETTINGS, CONFIG)
        view.ended("t0001", TrialState.FAILED, "boom")
    assert out.getvalue().splitlines() == [
        "t0000 started: student_steps=5, temperature=1.235",
        "t0000 50/100 pseudo batches, validation_accuracy 0.5000",
        "warning: t0000 is tried again from its last checkpoint, after: worker died",
        "t0000 100/100 pseudo batches, validation_accuracy 0.7000",
        "t0000 completed",
        "t0001 started: student_steps=5, temperature=1.235",
        "warning: t0001 failed: boom",
    ]


def test_in_a_terminal_there_is_a_table_and_no_lines() -> None:
    view, out = progress(terminal=True)
    with view:
        view.started("t0000", SETTINGS, CONFIG)
        view.reported("t0000", report(25, 0.5))
    assert "started:" not in out.getvalue()
    shown = io.StringIO()
    Console(file=shown, width=120).print(view.render())
    row = next(line for line in shown.getvalue().splitlines() if line.startswith("t0000"))
    assert row.split() == ["t0000", "running", "25%", "0.5000", "5", "1.235"]


def test_the_best_is_the_best_of_all_sessions_that_used_its_whole_budget_within_the_constraints() -> None:
    view, _ = progress()
    view.recall("t0000", {"student_steps": 7}, 0.9, state=TrialState.COMPLETED, feasible=True)
    view.recall("t0001", {"student_steps": 8}, None, state=TrialState.FAILED, feasible=True)
    view.recall("t0003", {"student_steps": 9}, 0.97, state=TrialState.STOPPED_EARLY, feasible=True)
    view.recall("t0004", {"student_steps": 9}, 0.98, state=TrialState.COMPLETED, feasible=False)
    view.started("t0002", SETTINGS, CONFIG)
    view.reported("t0002", report(100, 0.95))
    assert view.summary().startswith("4 of 4 trials done; best validation_accuracy 0.9000 (t0000: student_steps=7)")
    view.ended("t0002", TrialState.COMPLETED, "")
    assert "best validation_accuracy 0.9500 (t0002: student_steps=5, temperature=1.235)" in view.summary()


def test_before_one_is_complete_what_leads_is_not_called_best() -> None:
    view, _ = progress()
    view.started("t0000", SETTINGS, CONFIG)
    view.reported("t0000", report(50, 0.5))
    assert "leading, at 50% of its budget: validation_accuracy 0.5000 (t0000: " in view.summary()
    view.ended("t0000", TrialState.STOPPED_EARLY, "")
    assert view.summary().startswith("1 of 4 trials done") and "0.5" not in view.summary()


def test_an_objective_that_only_the_end_tells_is_not_shown_before() -> None:
    view, out = progress()
    view.started("t0000", SETTINGS, CONFIG)
    view.reported("t0000", {"pseudo_batches": 50, "validation_accuracy": None})
    assert "t0000 50/100 pseudo batches\n" in out.getvalue()


def test_time_left_follows_from_the_work_of_this_session() -> None:
    clock = SimulatedClock()
    view, _ = progress(clock=clock)
    view.recall("t0000", {}, 0.5, state=TrialState.COMPLETED, feasible=True)
    assert view.seconds_left() is None
    view.started("t0001", SETTINGS, CONFIG)
    clock.seconds = 50
    view.reported("t0001", report(50, 0.5))
    # Half a trial in 50 s; two and a half are left.
    assert view.seconds_left() == pytest.approx(250)
    clock.seconds = 100
    view.ended("t0001", TrialState.COMPLETED, "")
    assert view.seconds_left() == pytest.approx(200)


def test_durations() -> None:
    assert [duration(seconds) for seconds in (3.2, 100, 7200)] == ["3 s", "2 min", "2.0 h"]
