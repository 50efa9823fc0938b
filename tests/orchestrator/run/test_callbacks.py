"""What a session does with the events of its trials as Tune tells of them, without Tune."""

from __future__ import annotations

import math
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray
from optuna.trial import TrialState

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import TrialRecord, read_reports
from orchestrator.results.recoveries import in_words
from orchestrator.run.checks import check_first_report
from orchestrator.run.tune import SessionStopper, TuneSearcher
from orchestrator.search.sweep_search import SweepSearch
from search_spaces import resolve_space
from tests.support.rows import report
from tests.support.searches import suggest
from tests.support.sessions import SPACE, SWEEP, Session
from tests.support.tiny import tiny_settings
from trainables.errors import StorageOutageError
from trainables.storage.object_store import ObjectStore


@pytest.fixture
def session(store: ObjectStore) -> Session:
    return Session(store)


@pytest.mark.parametrize(
    ("done", "changes", "state", "told"),
    [
        (4, {}, "completed", TrialState.COMPLETE),
        (2, {}, "stopped_early", TrialState.PRUNED),
        (2, {"diverged": True}, "diverged", TrialState.FAIL),
        (4, {"diverged": True}, "diverged", TrialState.FAIL),
    ],
)
def test_how_a_trial_ended(session: Session, done: int, changes: dict[str, Any], state: str, told: TrialState) -> None:
    trial = session.start()
    session.report(trial, done, **changes)
    session.recorder.on_trial_complete(0, [], trial)
    (row,) = session.rows()
    assert (row["state"], row["pseudo_batches"]) == (state, done)
    assert row["config_temperature"] == trial.config["temperature"]
    assert session.states() == [told]


def test_a_failed_trial_says_which_exception(session: Session, tmp_path: Path) -> None:
    trial = session.start()
    trial.error_file = tmp_path / "error.txt"
    trial.error_file.write_text("Traceback ...\n  File ...\nRuntimeError: CUDA out of memory\n\n")
    session.recorder.on_trial_recover(0, [], trial)
    session.recorder.on_trial_error(0, [], trial)
    (row,) = session.rows()
    assert (row["state"], row["error"], row["recoveries"]) == ("failed", "RuntimeError: CUDA out of memory", 1)
    assert session.states() == [TrialState.FAIL]
    assert (
        "t0000 is tried again from its last checkpoint, after: RuntimeError: CUDA out of memory"
        in session.out.getvalue()
    )


def test_a_trial_whose_machine_is_lost_before_it_began_is_run_again_and_has_not_failed(
    session: Session, tmp_path: Path
) -> None:
    trial = session.start()
    others = [session.start(), session.start()]
    assert session.search.suggest() is None
    trial.error_file = tmp_path / "error.txt"
    trial.error_file.write_text(
        "Failure # 1 (occurred at ...)\nThe actor is dead because its node has died. Node Id: 1\n"
    )
    session.recorder.on_trial_error(0, [], trial)
    assert session.rows() == []
    assert "its machine was lost" in session.out.getvalue()
    again = session.start()
    assert again.config == trial.config
    for ending in (again, *others):
        session.report(ending, 4)
        session.recorder.on_trial_complete(0, [], ending)
    assert session.search.suggest() is None and not session.search.running
    assert [(row["state"], row["recoveries"]) for row in session.rows()] == [("completed", n) for n in (1, 0, 0)]


def test_lost_machines_use_up_no_retry_whether_tune_counts_them_or_not(session: Session, tmp_path: Path) -> None:
    trial = session.start()
    trial.error_file = tmp_path / "error.txt"
    lost = "The actor is dead because its node has died."
    left = []
    gone = "The actor is dead because its worker process has died. Worker exit detail: exit_actor() is called."
    # Tune counts a machine that vanishes or that the trial has left, but none whose loss was announced.
    events = [(1, lost), (0, lost), (1, "OSError: busy"), (0, lost), (1, gone), (1, lost), (1, "OSError: busy")]
    for counted, told in events:
        trial.run_metadata.num_failures += counted
        with trial.error_file.open("a") as file:
            file.write(f"Failure # {trial.run_metadata.num_failures} (occurred at ...)\n{told}\n")
        session.recorder.on_trial_recover(0, [], trial)
        left.append(trial.run_metadata.num_failures)
    assert left == [0, 0, 1, 1, 1, 1, 2]
    assert session.out.getvalue().count("its machine is about to be taken away") == 1


NODE = "The actor died because its node has died. Node Id: 1\n\tthe actor's node was "
PROCESS = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ("Traceback ...\nOSError: no space left", "OSError: no space left"),
        (NODE + "preempted: Node was forcibly preempted", "its machine was lost (taken away, as announced)"),
        (NODE + "terminated expectedly: received SIGTERM", "its machine was lost (shut down)"),
        (NODE + "terminated unexpectedly: health check failed", "its machine was lost (it stopped answering)"),
        (NODE + "terminated: ", "its machine was lost"),
        (PROCESS + "exit_actor() is called.", "its machine is about to be taken away"),
        (PROCESS, "its process crashed or was killed, perhaps because the machine ran out of memory"),
        (
            "1 worker(s) were killed due to the node running low on memory. Memory on ...\nTop 10 memory users: ...\n61",
            "its process was ended, as the machine ran low on memory",
        ),
    ],
)
def test_why_a_trial_is_tried_again_is_said_in_a_line_and_kept(
    told: str, cause: str, session: Session, tmp_path: Path
) -> None:
    trial = session.start()
    trial.error_file = tmp_path / "error.txt"
    trial.error_file.write_text("Failure # 1 (occurred at ...)\nOSError: busy\n")
    session.recorder.on_trial_recover(0, [], trial)
    for number in (2, 3):
        with trial.error_file.open("a") as file:
            file.write(f"Failure # {number} (occurred at ...)\n{told}\n")
        session.recorder.on_trial_recover(0, [], trial)
    after = [line.partition("after: ")[2] for line in session.out.getvalue().splitlines() if "tried again" in line]
    assert after == ["OSError: busy", cause, cause]
    session.report(trial, 4)
    session.recorder.on_trial_complete(0, [], trial)
    (row,) = session.rows()
    assert (row["recoveries"], TrialRecord.of_row(row).recovery_causes) == (3, {"OSError: busy": 1, cause: 2})
    assert in_words(TrialRecord.of_row(row).recovery_causes) == f"{cause} (2 times); OSError: busy"


def test_of_a_trial_that_was_never_continued_nothing_is_kept(session: Session) -> None:
    trial = session.start()
    session.report(trial, 4)
    session.recorder.on_trial_complete(0, [], trial)
    (row,) = session.rows()
    assert (row["recoveries"], row["recovery_causes_json"], TrialRecord.of_row(row).recovery_causes) == (0, None, {})


def fail_for_memory(session: Session, trial: Any, gpus: float) -> None:
    allocation = {"node_id": "", "cpus": 1, "gpus": gpus, "seconds": 60.0}
    failure = {"failure": "OutOfMemoryError: CUDA out of memory", "out_of_memory": True, "allocation": allocation}
    session.recorder.on_trial_result(0, [], trial, failure)
    session.recorder.on_trial_complete(0, [], trial)


def test_too_little_memory_is_tried_once_with_a_larger_share_of_the_gpu(session: Session) -> None:
    trial = session.start()
    fail_for_memory(session, trial, 0.25)
    assert session.rows() == []
    said = "t0000 is tried again from its last checkpoint, after: OutOfMemoryError: CUDA out of memory; it had 0.25 of a GPU"
    assert said in session.out.getvalue()
    again = session.start()
    assert again.config == trial.config | {"gpus": 0.5}
    fail_for_memory(session, again, 0.5)
    (row,) = session.rows()
    assert (row["state"], row["recoveries"]) == ("failed", 1)
    assert row["error"] == (
        "OutOfMemoryError: CUDA out of memory; it had 0.5 of a GPU: lower batch_size, or give every trial more with --gpus"
    )
    assert row["gpu_seconds"] == pytest.approx(60 * 0.25 + 60 * 0.5, rel=1e-3)
    assert session.states() == [TrialState.FAIL]


def test_with_a_whole_gpu_there_is_no_larger_share(session: Session) -> None:
    fail_for_memory(session, session.start(), 1)
    (row,) = session.rows()
    assert (row["state"], row["recoveries"]) == ("failed", 0)
    assert "it had 1 of a GPU: lower batch_size" in row["error"]


def test_the_row_is_safe_before_the_study_is_told(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = session.start()
    session.report(trial, 4)
    rows_when_told: list[int] = []
    monkeypatch.setattr(session.search, "tell", lambda *_, **__: rows_when_told.append(len(session.rows())))
    session.recorder.on_trial_complete(0, [], trial)
    assert rows_when_told == [1]


@pytest.mark.parametrize("failing", ["write_report", "write_trial"])
def test_when_storage_fails_the_session_ends_and_trials_stay_running(
    failing: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = session.start(), session.start()
    stopper = SessionStopper(session.search.health)
    session.report(first, 2)
    assert not stopper.stop_all()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.writer, failing, full)
    session.report(first, 4)
    session.recorder.on_trial_complete(0, [], first)
    assert stopper.stop_all()
    assert "No space left" in str(session.search.health.failure)
    # Tune now ends what runs; none of it may be taken for a trial's own end.
    monkeypatch.undo()
    session.recorder.on_trial_complete(0, [], second)
    session.recorder.on_trial_error(0, [], second)
    assert session.rows() == []
    assert session.states() == [TrialState.RUNNING] * 2
    assert suggest(SweepSearch(session.study, SWEEP, resolve_space(SPACE), sweep_id="sweep-a")) == first.config


@pytest.mark.parametrize("hook", ["on_trial_recover", "on_trial_error"])
def test_a_trial_that_could_not_reach_storage_has_not_failed(hook: str, session: Session, tmp_path: Path) -> None:
    trial = session.start()
    trial.error_file = tmp_path / "error.txt"
    trial.error_file.write_text(
        "Traceback ...\ntrainables.errors.StorageOutageError: storage did not answer for 600 s\n"
    )
    getattr(session.recorder, hook)(0, [], trial)
    assert SessionStopper(session.search.health).stop_all()
    assert isinstance(session.search.health.failure, StorageOutageError), "what a sweep is paused for"
    assert str(session.search.health.failure) == "storage did not answer for 600 s"
    session.recorder.on_trial_error(0, [], trial)
    assert session.rows() == []
    assert session.states() == [TrialState.RUNNING]
    assert session.search.suggest() is None, "nothing is asked of a storage that is away"


def test_an_error_that_ray_has_kept_is_known_by_its_type(session: Session, tmp_path: Path) -> None:
    trial = session.start()
    outage = StorageOutageError("storage did not answer for 600 s")
    trial.pickled_error_file = tmp_path / "error.pkl"
    trial.pickled_error_file.write_bytes(ray.cloudpickle.dumps(ray.exceptions.RayTaskError("step", "...", outage)))
    session.recorder.on_trial_error(0, [], trial)
    assert isinstance(session.search.health.failure, StorageOutageError)
    assert str(session.search.health.failure) == "storage did not answer for 600 s"
    assert not trial.pickled_error_file.exists(), "it would be taken for the next one"


def test_an_error_that_only_speaks_of_an_outage_is_the_trials_own(session: Session, tmp_path: Path) -> None:
    trial = session.start()
    trial.error_file, trial.pickled_error_file = tmp_path / "error.txt", tmp_path / "error.pkl"
    error = ValueError("no StorageOutageError: is meant")
    trial.error_file.write_text(f"Traceback ...\nValueError: {error}\n")
    trial.pickled_error_file.write_bytes(ray.cloudpickle.dumps(ray.exceptions.RayTaskError("step", "...", error)))
    session.recorder.on_trial_error(0, [], trial)
    assert session.search.health.failure is None
    assert [row["state"] for row in session.rows()] == ["failed"]


def test_what_tune_pickles_of_a_session_holds_nothing(session: Session) -> None:
    assert len(pickle.dumps([session.recorder, TuneSearcher(session.search)])) < 1000


def test_a_study_that_cannot_be_written_ends_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.study, "ask", full)
    assert session.search.suggest() is None
    assert SessionStopper(session.search.health).stop_all()


def test_a_number_that_is_none_is_a_row_but_not_for_the_study(session: Session) -> None:
    trial = session.start()
    session.report(trial, 2, validation_accuracy=float("nan"))
    assert len(read_reports(session.store, "sweep-a")) == 1
    assert session.study.trials[0].intermediate_values == {}


def test_the_first_report_without_what_is_searched_by_ends_the_session(session: Session) -> None:
    first, second = session.start(), session.start()
    session.report(first, 2)
    assert not SessionStopper(session.search.health).stop_all()
    session.report(second, 2, validation_accuracy=None)
    assert SessionStopper(session.search.health).stop_all()
    assert isinstance(session.search.health.failure, ConfigError)
    assert "validation_accuracy is optimised, and the first report of t0001 is without it. Student's top-1" in str(
        session.search.health.failure
    )
    for trial in (first, second):  # Tune ends them
        session.recorder.on_trial_complete(0, [], trial)
    assert session.rows() == []
    assert session.states() == [TrialState.RUNNING] * 2


@pytest.mark.parametrize(
    ("selection", "changes", "refused"),
    [
        ({"constraints": {"running_statistics_shift": {"at_most": 1}}}, {"running_statistics_shift": None}, True),
        ({"further_objectives": {"training_flops": "min"}}, {"training_flops": None}, True),
        ({"further_objectives": {"training_flops": "min"}}, {"training_flops": math.nan}, False),
        ({"further_objectives": {"training_flops": "min"}}, {"training_flops": None, "diverged": True}, False),
        ({}, {"running_statistics_shift": None, "data_free_score": None, "test_accuracy": None}, False),
        ({"further_objectives": {"mean_transition_error": "min"}}, {"mean_transition_error": None}, False),
    ],
)
def test_what_a_first_report_may_be_without(selection: dict[str, Any], changes: dict[str, Any], refused: bool) -> None:
    settings = tiny_settings() | {"transition_images": 10}
    sweep = SweepConfig(name="test", trial=settings, space=SPACE, allow_test_selection=True, **selection)
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} is") if refused else nullcontext():
        check_first_report(sweep, "t0000", report(**changes))


def test_notes_of_a_trial_are_shown(session: Session) -> None:
    trial = session.start()
    session.report(trial, 2, notes=["checkpoint x is damaged"])
    assert "warning: t0000: checkpoint x is damaged" in session.out.getvalue()


def test_notes_on_a_machine_are_shown_once_for_each(session: Session) -> None:
    for host in ("one", "one", "two"):
        session.report(session.start(), 2, hostname=host, machine_notes=["there is no C++ compiler"])
    shown = session.out.getvalue()
    assert shown.count("warning: one: there is no C++ compiler") == 1
    assert shown.count("warning: two: there is no C++ compiler") == 1
