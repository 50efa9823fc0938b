"""Whole sweeps on object storage: the numbers of a folder, whatever the network does."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmarks.chaos.comparison import differences
from benchmarks.chaos.servers import FaultyProxy
from orchestrator.results import read_reports, read_sweeps
from orchestrator.run import outage
from orchestrator.run.sweep import run_sweep
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage
from tests.support.tiny import make_bucket, query_of
from tests.support.whole_sweeps import run, start, sweep_of, trials, wait_for
from trainables.storage.object_store import ObjectStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

TRIAL = {"total_pseudo_batches": 40, "student_steps": 10, "batch_size": 16}


@pytest.fixture(scope="module")
def on_a_folder(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sweep with which the others are compared."""
    folder = str(tmp_path_factory.mktemp("runs"))
    run(sweep_of(folder, trial=TRIAL, num_trials=4, checkpoint_seconds=0), "sweep-a")
    return folder


def check_same(ours: str, theirs: str) -> None:
    """Every row, every value, and the study."""
    assert differences(trials(ours, "sweep-a"), trials(theirs, "sweep-a")) == []
    reports = [read_reports(find_storage(place), "sweep-a").to_pylist() for place in (ours, theirs)]
    assert len(reports[0]) == len(reports[1]) > 0
    assert differences(*reports) == []
    studies = [open_study(SweepStore(find_storage(place), "sweep-a"), modes=["max"]).trials for place in (ours, theirs)]
    assert [(t.number, t.state, t.params, t.value, t.intermediate_values) for t in studies[0]] == [
        (t.number, t.state, t.params, t.value, t.intermediate_values) for t in studies[1]
    ]


def wait_for_reports(store: ObjectStore) -> None:
    deadline = time.monotonic() + 120
    while not store.keys("results/v1/reports") and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.parametrize("server", ["moto", pytest.param("ceph", marks=pytest.mark.s3)])
def test_a_driver_killed_on_a_bucket_goes_on_and_ends_as_on_a_folder(
    server: str, on_a_folder: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    address = make_bucket(request.getfixturevalue(server)).replace("?", "/runs?")
    sweep = sweep_of(address, trial=TRIAL, num_trials=4, checkpoint_seconds=0)
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    store = find_storage(address)
    process = start([str(file), "--sweep-id", "sweep-a"])
    wait_for(lambda: len(store.keys("checkpoints/sweep-a")) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    printed = run(sweep, "sweep-a")
    assert "resume from their checkpoints" in printed
    check_same(address, on_a_folder)


def test_an_outage_and_a_busy_server_cost_no_trial_and_no_number(on_a_folder: str, proxy: FaultyProxy) -> None:
    address = make_bucket(proxy.url).replace("?", "/runs?")
    store = find_storage(address)

    def be_away() -> None:
        wait_for_reports(store)
        proxy.share_503 = 0.1
        for mode in ("reset", "503"):
            proxy.fail_for(5, mode).join()
            time.sleep(0.5)

    away = threading.Thread(target=be_away)
    away.start()
    run(sweep_of(address, trial=TRIAL, num_trials=4, checkpoint_seconds=0, max_failures=0), "sweep-a")
    away.join()
    assert proxy.failed > 10
    check_same(address, on_a_folder)


def test_a_sweep_that_an_outage_has_paused_goes_on_by_itself(
    on_a_folder: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(outage, "_LINE_SECONDS", 0.5)
    address = make_bucket(proxy.url).partition("?")[0] + "/runs"
    storage: Any = {"uri": f"{address}?{query_of(proxy.url)}", "patience_seconds": 2}
    sweep = sweep_of(storage, trial=TRIAL, num_trials=4, checkpoint_seconds=0, max_failures=0)
    store = find_storage(sweep.storage)
    out = io.StringIO()

    def be_away() -> None:
        wait_for_reports(store)
        proxy.mode = "503"
        deadline = time.monotonic() + 60
        while "paused since" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
        proxy.mode = "up"

    away = threading.Thread(target=be_away)
    away.start()
    assert run_sweep(sweep, sweep_id="sweep-a", console=Console(file=out, width=200)).finished
    away.join()
    printed = out.getvalue()
    assert printed.index("did not answer for") < printed.index("Paused: nothing that was written is lost")
    assert printed.index("answers again after a pause of") < printed.index("resume from their checkpoints")
    assert read_sweeps(store, "sweep-a")["session"].to_pylist()[-1] == 1
    assert all(row["state"] == "completed" for row in trials(storage["uri"], "sweep-a"))
    check_same(storage["uri"], on_a_folder)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert [key for key in store.keys("") if secret in store.read(key)] == []
