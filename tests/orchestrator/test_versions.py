"""Sweeps that another version of this program began."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import SweepConfig
from orchestrator.errors import SweepMismatchError
from orchestrator.provenance import session_row
from orchestrator.results import ResultWriter, keys
from orchestrator.storage import open_storage
from orchestrator.study import open_study
from orchestrator.sweep import run_sweep
from tests.conftest import tiny_settings
from tests.orchestrator.test_results import trial
from trainables import checkpoint
from trainables.checkpoint import CheckpointStore, take_snapshot
from trainables.errors import CheckpointError


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    """A search on a storage of its own, which says that it was begun."""
    space = {"temperature": {"type": "float", "low": 1, "high": 4}}
    found = SweepConfig.model_validate(
        {"name": "a", "trial": tiny_settings(), "space": space, "num_trials": 3, "storage": str(tmp_path)}
    )
    writer = ResultWriter(open_storage(found.storage), "sweep-a")
    writer.write_session(session_row(found, ["temperature"], number=0, event="started", cpus=2, gpus=0))
    return found


def test_trials_from_before_there_were_numerics_are_not_mixed_with_others(sweep: SweepConfig) -> None:
    ResultWriter(open_storage(sweep.storage), "sweep-a").write_trial(
        trial("t0000", config_method="zero_shot", config_numerics=None)
    )
    with pytest.raises(SweepMismatchError, match="begun by an earlier version.*--sweep-id"):
        run_sweep(sweep, sweep_id="sweep-a")


def test_checkpoints_of_another_format_end_the_session_and_no_trial(
    sweep: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_storage(sweep.storage)
    study = open_study(store, "sweep-a", modes=["max"])
    study.ask()
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 1)
    CheckpointStore(store.below(keys.checkpoint_folder("sweep-a"))).save("t0000", 2, take_snapshot({"a": 1}))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 1; this version reads 3: finish it with the version"):
        run_sweep(sweep, sweep_id="sweep-a")
    assert [trial.state.name for trial in open_study(store, "sweep-a", modes=["max"]).trials] == ["RUNNING"]
