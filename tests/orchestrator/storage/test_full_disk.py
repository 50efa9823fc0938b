"""A disk that is really full: a small filesystem in memory, which only root may mount."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from orchestrator.results import ResultWriter, read_reports
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, open_storage
from tests.support.missing import FULL_DISK, run_or_skip, skip_without
from tests.support.rows import report
from trainables.storage.checkpoint import CheckpointStore, copy_state
from trainables.storage.object_store import ObjectStore


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ObjectStore]:
    """A storage of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    skip_without(["mount"], FULL_DISK)
    run_or_skip(mount, FULL_DISK)
    try:
        yield open_storage(str(disk / "runs"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """To the last byte, like somebody else's download."""
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_an_error_at_once_and_loses_nothing(small: ObjectStore) -> None:
    writer, checkpoints = ResultWriter(SweepStore(small, "sweep-a")), CheckpointStore(small.below("checkpoints"))
    study = open_study(SweepStore(small, "sweep-a"), modes=["max"])

    def save(done: int) -> None:
        checkpoints.save("t0000", done, copy_state({"done": done, "weights": torch.ones(10_000)}))

    def tell(done: int) -> None:
        # A few entries find room in what the journal's file has already.
        for _ in range(1 if done != 20 else 100):
            study.tell(study.ask(), float(done))

    def write(done: int) -> None:
        writer.write_report(report(pseudo_batches=done))

    steps: list[Callable[[int], None]] = [save, write, tell]
    for step in steps:
        step(10)
    disk = Path(small.root).parent
    fill(disk)
    before = small.sizes("")
    for step in steps:
        with pytest.raises(OSError, match="No space left on device") as caught:
            step(20)
        assert caught.value.errno == errno.ENOSPC
    journal = "studies/sweep-a/journal.log"
    assert {**small.sizes(""), journal: 0} == {**before, journal: 0}
    assert not [path for path in disk.rglob(".*") if path.is_file()], "nothing half written takes up room"
    (disk / "filler").unlink()
    # The next session goes on with what was kept, and can keep more.
    study = open_study(SweepStore(small, "sweep-a"), modes=["max"])
    for step in steps:
        step(30)
    values = [trial.value for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert (values[0], {*values[1:-1]} <= {20}, values[-1]) == (10, True, 30)
    assert read_reports(small, "sweep-a")["pseudo_batches"].to_pylist() == [10, 30]
    state = checkpoints.load_newest("t0000", warn=pytest.fail)
    assert state is not None
    assert state["done"] == 30
