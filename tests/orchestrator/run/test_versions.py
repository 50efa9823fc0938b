"""Sweeps that another version of this program began."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from orchestrator.config import SweepConfig
from orchestrator.errors import SweepMismatchError
from orchestrator.results import ResultWriter, SessionEvent
from orchestrator.results.sessions import session_row
from orchestrator.run.checks import check_same_space
from orchestrator.run.sweep import run_sweep
from orchestrator.search.space import infer_domains
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, layout, open_storage
from search_spaces import resolve_space
from tests.support.rows import trial
from tests.support.tiny import tiny_settings
from trainables.errors import CheckpointError
from trainables.storage import checkpoint
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.system import own_files


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    """A search on a storage of its own, which says that it was begun."""
    space = {"temperature": {"type": "float", "low": 1, "high": 4}}
    found = SweepConfig.model_validate(
        {"name": "a", "trial": tiny_settings(), "space": space, "num_trials": 3, "storage": str(tmp_path)}
    )
    writer = ResultWriter(SweepStore(open_storage(found.storage), "sweep-a"))
    writer.write_session(session_row(found, ["temperature"], number=0, event=SessionEvent.STARTED, cpus=2, gpus=0))
    return found


def test_trials_from_before_there_were_numerics_are_not_mixed_with_others(sweep: SweepConfig) -> None:
    ResultWriter(SweepStore(open_storage(sweep.storage), "sweep-a")).write_trial(
        trial("t0000", config_method="zero_shot", config_numerics=None)
    )
    with pytest.raises(SweepMismatchError, match="begun by an earlier version.*--sweep-id"):
        run_sweep(sweep, sweep_id="sweep-a")


def test_a_space_that_was_edited_is_refused_with_the_difference(sweep: SweepConfig, tmp_path: Path) -> None:
    file = tmp_path / "my_space.py"
    code = "def space(trial):\n    return {{'temperature': trial.suggest_float('temperature', 1, {}, log=True){}}}\n"
    file.write_text(code.format(4.0, ""))
    own = SweepConfig.model_validate({**sweep.model_dump(), "space": f"{file}:space"})
    domains = infer_domains(resolve_space(own.space), own, forbidden=())
    store = open_storage(own.storage)
    row = session_row(own, list(domains), number=0, event=SessionEvent.STARTED, cpus=2, gpus=0, domains=domains)
    ResultWriter(SweepStore(store, "sweep-a")).write_session(row)
    check_same_space(SweepStore(store, "sweep-a"), domains)
    file.write_text(code.format(8.0, ", 'student_steps': trial.suggest_int('student_steps', 1, 9)"))
    own_files.forget()  # as in another process
    with pytest.raises(SweepMismatchError, match="began with another space") as refused:
        run_sweep(own, sweep_id="sweep-a")
    assert "temperature: FloatDistribution(high=4.0, log=True, low=1.0, step=None) then" in str(refused.value)
    assert "student_steps" not in str(refused.value)  # it is fixed, then and now


def test_a_sweep_from_before_domains_were_kept_is_accepted(sweep: SweepConfig) -> None:
    check_same_space(SweepStore(open_storage(sweep.storage), "sweep-a"), {"temperature": FloatDistribution(1, 9)})


def test_checkpoints_of_another_format_end_the_session_and_no_trial(
    sweep: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_storage(sweep.storage)
    study = open_study(SweepStore(store, "sweep-a"), modes=["max"])
    study.ask()
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 1)
    CheckpointStore(store.below(layout.checkpoint_folder("sweep-a"))).save("t0000", 2, copy_state({"a": 1}))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 1; this version reads 3: finish it with the version"):
        run_sweep(sweep, sweep_id="sweep-a")
    assert [trial.state.name for trial in open_study(SweepStore(store, "sweep-a"), modes=["max"]).trials] == ["RUNNING"]
