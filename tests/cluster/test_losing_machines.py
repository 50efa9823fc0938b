"""A sweep on a real Ray cluster of two nodes on this machine, whose only worker is lost again and again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.cluster_utils import Cluster

from orchestrator.results import read_reports, read_trials
from orchestrator.storage import find_storage
from tests.cluster.test_preemption import Service
from tests.comparison import differences
from tests.orchestrator.test_sweep import ROOT, sweep_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that takes no trials; workers are added by the test."""
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    found = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": quick},
    )
    yield found
    found.shutdown()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run(file: Path, sweep_id: str, address: str, flag: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "run_sweep.py"), str(file), "--sweep-id", sweep_id, "--address", address]
    environment = os.environ | {"ZSKT_LEAVING_FLAG": str(flag)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_lost_machines_cost_no_retry_and_change_no_number(cluster: Cluster, tmp_path: Path) -> None:
    trial = {"total_pseudo_batches": 60, "student_steps": 10, "batch_size": 16, "evaluation_interval": 10}
    sweep = sweep_of(str(tmp_path / "runs"), trial=trial, num_trials=2, checkpoint_seconds=0, max_failures=1)
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    checkpoints = tmp_path / "runs" / "checkpoints" / "disturbed" / "t0000"

    def has_saved(pseudo_batches: int) -> bool:
        return any(int(path.stem) >= pseudo_batches for path in checkpoints.glob("*.safetensors"))

    worker: Any = cluster.add_node(num_cpus=1)
    calm = run(file, "calm", cluster.address, tmp_path / "no-flag")
    assert calm.wait(timeout=200) == 0, calm.communicate()[0]
    calm.communicate()

    flag = tmp_path / "leaving"
    process = run(file, "disturbed", cluster.address, flag)
    for place in (10, 20):  # twice without a word: as many losses as would use up the one retry, and one more
        wait_for(partial(has_saved, place), process)
        cluster.remove_node(worker, allow_graceful=False)
        worker = cluster.add_node(num_cpus=1)
    wait_for(partial(has_saved, 30), process)
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Service.notice = True  # and once announced
    watcher = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "cluster.preemption",
                "aws",
                "--endpoint",
                f"http://127.0.0.1:{server.server_port}",
            ),
            *("--address", cluster.address, "--node-id", worker.node_id, "--deadline", "1"),
        ],
        env=os.environ | {"ZSKT_LEAVING_FLAG": str(flag)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    server.shutdown()
    thread.join()
    server.server_close()
    Service.notice = False
    assert watcher.returncode == 0, watcher.stderr
    assert "this machine is taken away: terminate at" in watcher.stderr
    assert flag.exists()
    time.sleep(1.5)
    cluster.remove_node(worker, allow_graceful=False)
    flag.unlink()
    cluster.add_node(num_cpus=1)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    assert "its machine was lost" in printed
    store = find_storage(sweep.storage)
    rows = read_trials(store, "disturbed").to_pylist()
    assert [row["state"] for row in rows] == ["completed", "completed"]
    # Two losses at least hit the first trial, and with one retry; where the third finds it ended, it hits the second.
    assert rows[0]["recoveries"] >= 2
    assert differences(rows, read_trials(store, "calm").to_pylist()) == []
    reports = [read_reports(store, name).to_pylist() for name in ("disturbed", "calm")]
    assert differences(*reports) == []
