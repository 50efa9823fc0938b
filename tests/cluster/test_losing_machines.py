"""A sweep on a real Ray cluster of two nodes on this machine, whose only worker is lost again and again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private.state import state
from ray.cluster_utils import Cluster

from benchmarks.chaos.comparison import differences
from orchestrator.results import TrialRecord, read_reports, read_trials
from orchestrator.storage import find_storage
from tests.support.metadata_service import Service, metadata_service
from tests.support.paths import ROOT
from tests.support.whole_sweeps import sweep_of

RENTED = {"rented": 1.0}
"""What only the workers have, so that a task can ask for one."""

pytestmark = [pytest.mark.ray, pytest.mark.own_processes, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the watcher raises, on the workers of this test alone."""
    path = tmp_path / "leaving"
    monkeypatch.setenv("ZSKT_LEAVING_FLAG", str(path))
    return path


@pytest.fixture
def cluster(flag: Path) -> Iterator[Cluster]:
    """A head that takes no trials; workers are added by the test."""
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": quick},
    )
    yield found
    found.shutdown()


def where() -> str:
    """The node on which a task runs."""
    node_id: str = ray.get_runtime_context().get_node_id()
    return node_id


def is_alive(machine: Any) -> bool:
    return any(node["Alive"] and node["NodeID"] == machine.node_id for node in ray.nodes())


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


Run = Callable[[Path, str], "subprocess.Popen[str]"]


@pytest.fixture
def run(cluster: Cluster) -> Iterator[Run]:
    """Begins a sweep on the cluster, from a file and under an id; what a failed test leaves is ended."""
    begun: list[subprocess.Popen[str]] = []

    def begin(file: Path, sweep_id: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "run_sweep.py"), str(file), "--sweep-id", sweep_id]
        command += ["--address", cluster.address]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_lost_machines_cost_no_retry_and_change_no_number(
    cluster: Cluster, run: Run, flag: Path, tmp_path: Path
) -> None:
    trial = {"total_pseudo_batches": 250, "student_steps": 10, "batch_size": 16, "evaluation_interval": 25}
    # With an hour between two checkpoints a trial saves when its machine is about to go, and at its end.
    sweep = sweep_of(str(tmp_path / "runs"), trial=trial, num_trials=1, checkpoint_seconds=3600, max_failures=1)
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    store = find_storage(sweep.storage)

    def has_reported(pseudo_batches: int) -> bool:
        return any(row["pseudo_batches"] >= pseudo_batches for row in read_reports(store, "disturbed").to_pylist())

    def has_saved() -> bool:
        return bool(store.keys("checkpoints/disturbed"))

    worker: Any = cluster.add_node(num_cpus=1, resources=RENTED)
    calm = run(file, "calm")
    printed, _ = calm.communicate(timeout=200)
    assert calm.returncode == 0, printed

    process = run(file, "disturbed")
    for place in (25, 50):  # twice without a word: as many losses as would use up the one retry, and one more
        wait_for(partial(has_reported, place), process)
        cluster.remove_node(worker, allow_graceful=False)
        worker = cluster.add_node(num_cpus=1, resources=RENTED)
    wait_for(partial(has_reported, 75), process)
    assert not has_saved()
    with metadata_service() as endpoint:  # and once announced
        Service.notice = True
        watcher = subprocess.run(
            [
                *(sys.executable, "-m", "cluster.preemption", "aws", "--endpoint", endpoint),
                *("--address", cluster.address, "--node-id", worker.node_id, "--deadline", "60"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert watcher.returncode == 0, watcher.stderr
    assert "this machine will be preempted: terminate at" in watcher.stderr
    assert flag.exists()
    with ray.init(address=cluster.address, log_to_driver=False):
        # Drained, or by now idle and ended.
        assert worker.node_id in state.get_draining_nodes() or not is_alive(worker)
        newcomer = ray.remote(num_cpus=0, resources={"rented": 0.1})(where).remote()
        # The trial saves and leaves; the node, drained and idle, ends long before its deadline.
        wait_for(lambda: not is_alive(worker), process)
        assert has_saved()
        assert ray.wait([newcomer], timeout=1)[0] == [], "the node was drained and took a task all the same"
        cluster.remove_node(worker, allow_graceful=False)
        flag.unlink()
        fresh: Any = cluster.add_node(num_cpus=1, resources=RENTED)
        assert ray.get(newcomer, timeout=60) == fresh.node_id
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    rows = read_trials(store, "disturbed").to_pylist()
    assert [(row["state"], row["recoveries"]) for row in rows] == [("completed", 3)]
    causes = {"its machine was lost (it stopped answering)": 2, "its machine is about to be taken away": 1}
    assert TrialRecord.of_row(rows[0]).recovery_causes == causes
    assert all(cause in printed for cause in causes)
    assert differences(rows, read_trials(store, "calm").to_pylist()) == []
    reports = [read_reports(store, name).to_pylist() for name in ("disturbed", "calm")]
    assert differences(*reports) == []
