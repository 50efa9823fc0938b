"""Ray's own commands against real sshds on hosts made of namespaces: what docs/cluster.md tells a user to type."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos.comparison import differences
from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY, FaultyProxy
from orchestrator.results import read_reports, read_sweeps, read_trials
from orchestrator.storage import find_storage
from tests.support.hosts import Lan, make_lan
from tests.support.paths import ROOT
from tests.support.tiny import make_bucket
from tests.support.whole_sweeps import run, sweep_of
from trainables.storage.object_store import ObjectStore

SHELL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # docs/cluster.md has them for real clusters, with more patience.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}


@contextmanager
def cluster_of(names: Sequence[str], *, cpus: int) -> Iterator[Lan]:
    """Hosts on which ``ray up`` has started Ray, until ``ray down``."""
    with make_lan(names, environment=SHELL) as lan:
        lan.describe(cpus=cpus)
        up = lan.ray("up", "--yes", "--no-config-cache")
        assert up.returncode == 0, up.stdout
        yield lan
        down = lan.ray("down", "--yes")
        assert down.returncode == 0, down.stdout
        # Of the others Ray thinks no more; they end by themselves when they miss the head.
        assert [line for line in lan.hosts[0].commands() if re.search("raylet|gcs_server", line)] == []


@contextmanager
def bucket_at(lan: Lan, moto: str) -> Iterator[tuple[str, str]]:
    """A new bucket: its address on the hosts, and here."""
    here = make_bucket(moto)
    proxy = FaultyProxy(moto, lan.listener())
    try:
        yield here.replace(moto.removeprefix("http://"), proxy.url.removeprefix("http://")), here
    finally:
        proxy.close()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any], printed: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, printed.read_text()
        time.sleep(0.1)


def reports_of(store: ObjectStore, sweep_id: str) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = read_reports(store, sweep_id).to_pylist()
    return reports


@pytest.mark.parametrize("alone", [True, False])
def test_without_the_package_the_message_says_what_to_do(alone: bool, tmp_path: Path) -> None:
    shutil.copy(ROOT / "run_sweep.py", tmp_path)
    if not alone:
        (tmp_path / "orchestrator").mkdir()
    # Without site packages, and so without ours.
    command = [sys.executable, "-S", "run_sweep.py", "quickstart"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "is missing for" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("file_mounts and setup_commands from zskt's cluster.yaml" in ended.stderr) is alone
    assert ("Run `make sweep`" in ended.stderr) is not alone


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_host_from_up_to_down(moto: str, tmp_path: Path) -> None:
    with cluster_of(["head"], cpus=2) as lan, bucket_at(lan, moto) as (there, here):
        # Everything in one pair of quotes, and inside them what one would type on the head.
        awkward = "it's {a,b} $HOME/runs"
        storage = there.replace("?", f"/{awkward}?")
        wrong = shlex.join(["quickstart", "--set", 'student={a b,c} $HOME * "d"', "--storage", storage])
        refused = lan.ray("submit", "run_sweep.py", "--", wrong)
        assert refused.returncode == 1
        assert """student='{a b,c} $HOME * "d"'""" in refused.stdout
        assert "Traceback" not in refused.stdout

        small = ["--num-trials", "2", "--set", "total_pseudo_batches=12", "--set", "evaluation_interval=4"]
        arguments = shlex.join(["quickstart", *small, "--sweep-id", "submitted", "--storage", storage])
        store = find_storage(here.replace("?", f"/{awkward}?"))
        submit = lan.ray_command("submit", "run_sweep.py", "--", arguments)
        printed = tmp_path / "printed.txt"
        keyboard, terminal = pty.openpty()
        with printed.open("wb") as output:
            process = subprocess.Popen(
                lan.command(*submit), stdin=terminal, stdout=output, stderr=output, env=lan.environment, cwd=ROOT
            )
        os.close(terminal)
        wait_for(lambda: reports_of(store, "submitted"), process, printed)
        os.write(keyboard, b"\x03")  # Ctrl-C, which ssh hands on
        assert process.wait(timeout=60) == 1
        os.close(keyboard)
        assert "Stopped. The same command resumes this sweep" in printed.read_text()

        again = lan.ray("submit", "run_sweep.py", "--", arguments)
        assert again.returncode == 0, again.stdout
        assert "ended before" in again.stdout
        events = read_sweeps(store, "submitted")["event"].to_pylist()
        assert events == ["started", "interrupted", "started", "finished"]
        rows = read_trials(store, "submitted").to_pylist()
        assert [(row["trial_id"], row["hostname"]) for row in rows] == [("t0000", "head"), ("t0001", "head")]
        assert {row["state"] for row in rows} <= {"completed", "stopped_early"}

        results = shlex.join(["zskt", "results", "submitted", "--storage", storage])
        without_token = lan.ray("exec", "RAY_AUTH_MODE=disabled ray status")
        assert without_token.returncode == 1
        assert "InvalidAuthToken" in without_token.stdout

        shown = lan.ray("exec", f"{results} > ~/results.txt")
        assert shown.returncode == 0, shown.stdout
        fetched = tmp_path / "results.txt"
        down = lan.ray("rsync-down", "~/results.txt", str(fetched))
        assert down.returncode == 0, down.stdout
        assert "t0001" in fetched.read_text()
        assert lan.ray("exec", "zskt results nothing").returncode == 1


@pytest.mark.ray
@pytest.mark.own_processes
@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.usefixtures("ray_local")
def test_of_three_hosts_one_loses_its_network_and_no_number_changes(moto: str, tmp_path: Path) -> None:
    with cluster_of(["head", "first", "second"], cpus=1) as lan, bucket_at(lan, moto) as (there, here):
        trial = {"total_pseudo_batches": 60, "student_steps": 10, "batch_size": 16, "evaluation_interval": 10}
        sweep = sweep_of(here, trial=trial, num_trials=4, checkpoint_seconds=0, max_failures=0)
        run(sweep, "calm")
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump(sweep.model_dump(mode="json", exclude={"storage"})))
        copied = lan.ray("rsync-up", str(file), "~/tiny.yaml")
        assert copied.returncode == 0, copied.stdout

        store = find_storage(here)
        submit = lan.ray_command(
            "submit", "run_sweep.py", "--", shlex.join(["tiny.yaml", "--sweep-id", "unplugged", "--storage", there])
        )
        printed = tmp_path / "printed.txt"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                lan.command(*submit),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=lan.environment,
                cwd=ROOT,
            )
        workers = {host.name: host for host in lan.hosts[1:]}

        def busy() -> list[str]:
            """Workers in the midst of a trial, once all hosts have one."""
            last = {report["trial_id"]: report for report in reports_of(store, "unplugged")}
            if len({report["hostname"] for report in last.values()}) < len(lan.hosts):
                return []
            return [r["hostname"] for r in last.values() if r["hostname"] in workers and r["pseudo_batches"] <= 40]

        wait_for(busy, process, printed)
        lost = busy()[0]
        lan.unplug(workers[lost])
        assert process.wait(timeout=200) == 0, printed.read_text()
        lan.plug(workers[lost])

        rows = {name: read_trials(store, name).to_pylist() for name in ("calm", "unplugged")}
        assert [row["state"] for row in rows["unplugged"]] == ["completed"] * 4
        assert sum(row["recoveries"] for row in rows["unplugged"]) >= 1
        reports = {name: reports_of(store, name) for name in ("calm", "unplugged")}
        for table in (rows, reports):
            for row in (*table["calm"], *table["unplugged"]):
                del row["hostname"], row["node_type"]
            assert differences(table["unplugged"], table["calm"]) == []
