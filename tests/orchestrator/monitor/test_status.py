from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.errors import SweepNotFoundError
from orchestrator.formatting import sparkline
from orchestrator.monitor.live import Progress
from orchestrator.monitor.status import Status, SweepWatch
from orchestrator.results import ResultWriter, SessionEvent, TrialState
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.results.sessions import session_row
from orchestrator.search.distinct import ended_of_all, trials_in_all
from orchestrator.search.study import open_study
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.search.workload import Workload
from orchestrator.storage import SweepStore, layout
from search_spaces import resolve_space
from tests.support.rows import NOW, report, trial
from tests.support.searches import suggest
from tests.support.simulated import SimulatedClock
from tests.support.synthetic import write_search
from tests.support.tiny import tiny_settings
from trainables.storage.filesystems import LocalFilesystem
from trainables.storage.object_store import ObjectStore


def text_of(status: Status) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(status.render())
    return out.getvalue()


def test_an_ended_sweep_says_so_and_shows_its_best_trial(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=24)
    status = SweepWatch(SweepStore(store, "search-a"), clock=SimulatedClock(NOW + timedelta(hours=3))).look()
    assert status.over
    text = text_of(status)
    assert "search-a: finished 2.0 h ago" in text.splitlines()[0]
    assert "8 completed, 16 stopped early, 24 trials an hour" in text
    best = read_leaderboard(SweepStore(store, "search-a")).best
    assert best is not None
    assert f"24 of 24 trials done; best validation_accuracy {best.objective:.4f} ({best.trial_id}: " in text
    assert "left" not in text


def test_a_trial_that_was_stopped_or_is_out_of_bounds_is_best_neither_here_nor_on_the_leaderboard(
    store: ObjectStore,
) -> None:
    write_search(store, "search-a", trials=3)
    best = read_leaderboard(SweepStore(store, "search-a")).best
    assert best is not None
    writer = ResultWriter(SweepStore(store, "search-a"))
    others: list[dict[str, Any]] = [{"state": "stopped_early"}, {"feasible": False}]
    for number, changes in enumerate(others, start=3):
        row = trial(f"t000{number}", validation_accuracy=0.999, objective=0.999, **changes)
        writer.write_trial(row)
        writer.write_report(report(f"t000{number}", 140, reported_at=NOW, validation_accuracy=0.999))
    view = SweepWatch(SweepStore(store, "search-a"), clock=SimulatedClock(NOW)).look().view
    view.trials["t0004"].feasible = False  # as its constraint would have it
    assert view.best == best.trial_id
    board = read_leaderboard(SweepStore(store, "search-a"))
    assert board.best is not None and board.best.trial_id == view.best


def running_sweep(store: ObjectStore) -> SweepSearch:
    """Two trials that its study has begun; the first has reported half of its budget."""
    sweep = load_sweep("quickstart")
    search = SweepSearch(
        open_study(SweepStore(store, "search-b"), modes=["max"]), sweep, resolve_space(sweep.space), sweep_id="search-b"
    )
    assert search.suggest() and search.suggest()
    writer = ResultWriter(SweepStore(store, "search-b"))
    row = session_row(sweep, ["student_steps", "temperature"], number=0, event=SessionEvent.STARTED, cpus=2, gpus=0)
    writer.write_session(row | {"at": NOW})
    healthy = {"student_in_train_mode": True, "measured_teacher_accuracy": 0.9}
    for done in (10, 20, 70):
        at = NOW + timedelta(seconds=done)
        row = report("t0000", done, reported_at=at, validation_accuracy=0.01 * done, **healthy)
        writer.write_report(row | {"image_diversity": 0.01 if done == 70 else 1.0})
    return search


def test_a_running_sweep_is_known_by_its_study_and_its_reports(store: ObjectStore) -> None:
    running_sweep(store)
    before = store.keys("")
    status = SweepWatch(SweepStore(store, "search-b"), clock=SimulatedClock(NOW + timedelta(seconds=100))).look()
    assert (status.state, status.elapsed, status.over) == ("running", 100, False)
    view = status.view
    assert {key: (trial.state, trial.share) for key, trial in view.trials.items()} == {
        "t0000": ("running", 0.5),
        "t0001": ("running", 0.0),
    }
    assert view.trials["t0001"].settings["student_steps"] is not None
    # Half a trial in 100 s; eleven and a half are left.
    assert view.seconds_left(status.elapsed) == pytest.approx(2300)
    text = text_of(status)
    assert "running, last report 30 s ago" in text
    assert "t0000 ▁▂█ 0.1000 to 0.7000" in text
    assert "leading, at 50% of its budget: validation_accuracy 0.7000 (t0000: " in text
    assert "last warning: t0000: the generator has collapsed" in text
    assert "18 trials an hour" in text
    assert store.keys("") == before, "looking writes nothing"


def test_trials_that_will_not_come_are_counted_nowhere(store: ObjectStore) -> None:
    """The sweep itself, ``zskt status`` and the leaderboard count alike, whatever has ended how."""
    space = {
        "temperature": {"type": "categorical", "choices": [1, 2]},
        "batch_size": {"type": "int", "low": 8, "high": 9},
    }
    fixed = {name: value for name, value in tiny_settings().items() if name not in space}
    settings = {"name": "few", "trial": fixed, "num_trials": 50, "sampler": {"name": "random"}}
    sweep = SweepConfig.model_validate({**settings, "space": space})
    study, writer = open_study(SweepStore(store, "few"), modes=["max"]), ResultWriter(SweepStore(store, "few"))
    writer.write_session(
        session_row(sweep, list(space), number=0, event=SessionEvent.STARTED, cpus=2, gpus=0) | {"at": NOW}
    )
    search = SweepSearch(study, sweep, resolve_space(space), sweep_id="few")
    workload = Workload(
        sweep=sweep, study=study, completed_elsewhere={}, failed=frozenset(), space=resolve_space(space)
    )
    progress = Progress(
        console=Console(file=io.StringIO()), sweep=sweep, searched=[], num_trials=lambda: workload.total
    )

    def totals() -> set[int]:
        status = SweepWatch(SweepStore(store, "few"), clock=SimulatedClock(NOW)).look()
        return {
            workload.total,
            progress.view.num_trials,
            trials_in_all(read_leaderboard(SweepStore(store, "few"))),
            status.view.num_trials,
        }

    counted = [totals()]
    ends: list[TrialState] = [
        TrialState.COMPLETED,
        TrialState.FAILED,
        TrialState.FAILED,
        TrialState.DIVERGED,
        TrialState.FAILED,
        TrialState.COMPLETED,
    ]
    for number, state in enumerate(ends):
        config = suggest(search)
        counted.append(totals())
        of_trial = {CONFIG_PREFIX + name: value for name, value in config.items() if name not in {"trial_id", "case"}}
        writer.write_trial(trial(config["trial_id"], trial_number=number, state=state, **of_trial))
        search.tell(config["trial_id"], state, {"validation_accuracy": 0.5})
        progress.ended(config["trial_id"], state, "")
        counted.append(totals())
    assert counted == [{4}] * 4 + [{5}] * 2 + [{6}] * 7
    assert search.suggest() is None and not search.running
    assert ended_of_all(read_leaderboard(SweepStore(store, "few"))) == "6 of 6"


@dataclass
class CountingBucket:
    """A place that is no disk of this machine, and keeps account of what is read there."""

    disk: LocalFilesystem = field(default_factory=LocalFilesystem)
    reads: list[str] = field(default_factory=list)

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self.disk.read(path)

    def write(self, path: str, data: bytes) -> None:
        self.disk.write(path, data)

    def exists(self, path: str) -> bool:
        return self.disk.exists(path)

    def sizes(self, folder: str) -> dict[str, int]:
        return self.disk.sizes(folder)

    def version(self, path: str) -> str:
        return self.disk.version(path)

    def delete(self, path: str) -> None:
        self.disk.delete(path)

    def shown(self, path: str) -> str:
        return path


def test_watching_reads_each_object_once(tmp_path: Path) -> None:
    bucket = CountingBucket()
    store = ObjectStore(filesystem=bucket, root=str(tmp_path))
    search = running_sweep(store)
    watch = SweepWatch(SweepStore(store, "search-b"), clock=SimulatedClock(NOW))
    bucket.reads.clear()

    first = watch.look()
    assert sorted(bucket.reads) == sorted(f"{tmp_path}/{key}" for key in store.keys("")), "no object twice"
    bucket.reads.clear()
    assert text_of(watch.look()) == text_of(first)
    assert bucket.reads == []

    assert search.suggest()
    writer = ResultWriter(SweepStore(store, "search-b"))
    writer.write_report(report("t0001", 35, reported_at=NOW, validation_accuracy=0.1))
    before = set(bucket.reads)
    later = watch.look()
    assert len(set(bucket.reads) - before) == 2, "one report, one step of the study"
    assert (later.view.trials["t0001"].share, later.view.trials["t0002"].state) == (0.25, "running")

    writer.compact()
    assert (
        text_of(watch.look())
        == text_of(later)
        == text_of(SweepWatch(SweepStore(store, "search-b"), clock=SimulatedClock(NOW)).look())
    )


def test_a_sweep_of_which_nothing_is_heard_is_not_called_running(store: ObjectStore) -> None:
    running_sweep(store)
    status = SweepWatch(SweepStore(store, "search-b"), clock=SimulatedClock(NOW + timedelta(hours=2))).look()
    assert status.state == "silent"
    assert "silent for 2.0 h: the process that ran it may be gone" in text_of(status)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (SessionEvent.INTERRUPTED, "interrupted"),
        (SessionEvent.FAILED, "failed"),
        (SessionEvent.OUT_OF_BUDGET, "its budget used up"),
    ],
)
def test_a_stopped_sweep_says_how_to_go_on(store: ObjectStore, event: SessionEvent, words: str) -> None:
    running_sweep(store)
    row = session_row(load_sweep("quickstart"), [], number=0, event=event, cpus=2, gpus=0)
    ResultWriter(SweepStore(store, "search-b")).write_session(row | {"at": NOW + timedelta(minutes=5)})
    status = SweepWatch(SweepStore(store, "search-b"), clock=SimulatedClock(NOW + timedelta(minutes=15))).look()
    assert status.state == event.value
    assert status.over and status.elapsed == 300
    assert words in text_of(status) and "10 min ago" in text_of(status)
    assert "resumes" in text_of(status)


def test_what_trials_were_continued_after_is_told(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    for number, lost in enumerate(({"machine gone": 2}, {"machine gone": 1, "process died": 1}), start=3):
        row = trial(f"t000{number}", recoveries=sum(lost.values()), recovery_causes_json=json.dumps(lost))
        ResultWriter(SweepStore(store, "search-a")).write_trial(row)
    text = text_of(SweepWatch(SweepStore(store, "search-a"), clock=SimulatedClock(NOW + timedelta(hours=3))).look())
    assert "trials were resumed after: machine gone (3 times); process died" in text


def test_the_command_prints_once_where_there_is_no_terminal(store: ObjectStore) -> None:
    write_search(store, "search-a", trials=3)
    result = CliRunner().invoke(app, ["status", "search-a", "--watch", "--storage", store.root])
    assert result.exit_code == 0, result.output
    assert "3 of 3 trials done" in result.output
    with pytest.raises(SweepNotFoundError, match="no sweep search-b"):
        SweepWatch(SweepStore(store, "search-b")).look()
    assert layout.study_folder("search-a") not in " ".join(store.keys("studies"))


def test_a_sparkline_spans_its_values_and_stays_short() -> None:
    assert sparkline([0, 1, 2, 3, 7]) == "▁▂▃▄█"
    assert sparkline([1, 1]) == "▁▁"
    long = sparkline(list(range(1000)))
    assert len(long) <= 40
    assert long[-1] == "█"
