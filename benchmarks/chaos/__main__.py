"""Disturbs sweeps at random moments and compares all their numbers with those of an undisturbed sweep.

    python -m benchmarks.chaos --rounds 30

The sweeps are real sweeps of small trials, on a Ray cluster of a head and two workers on this machine, with a bucket as
storage (moto behind a proxy that fails as networks do). In each round one of four things happens at a random moment: the
process of a trial is killed; a machine is lost with its raylet and all its processes; the driver is killed and its command
run again; or storage fails for some seconds. A round does not wait for recovery from the previous one. When a sweep has
finished the next one begins, until the number of rounds or minutes is reached. Each sweep's rows, reports and study must
equal those of the undisturbed sweep, except for times. The exit code is 1 if anything is lost or different.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from benchmarks.chaos.comparison import differences, own_trial_processes
from benchmarks.chaos.servers import ACCESS_KEY, SECRET_KEY, FaultyProxy, moto_server
from benchmarks.chaos.sweep import write_sweep

# Ray and boto3 read these variables when they are imported or start their processes.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    AWS_ACCESS_KEY_ID=ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY=SECRET_KEY,
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)

from ray.cluster_utils import Cluster

from orchestrator.results import read_reports, read_trials
from orchestrator.search.study import open_study
from orchestrator.storage import SweepStore, find_storage
from trainables.storage.object_store import ObjectStore

ROOT = Path(__file__).parents[2]
CALM = "calm"
WORKERS = 2
STALLED_SECONDS = 180
"""Seconds without a report after which a sweep is considered to hang, once its disturbances have ended."""

NOTICED_SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""Settings with which Ray notices a lost machine after two seconds instead of twelve."""


class ChaosError(Exception):
    """A sweep failed or hangs; the message says how."""


@dataclass(kw_only=True)
class Arena:
    """The cluster and storage that are disturbed, and the sweep that must survive."""

    cluster: Cluster
    proxy: FaultyProxy
    storage: str
    """Address of the sweep's storage, through the proxy."""

    store: ObjectStore
    """The same storage, accessed without the proxy."""

    folder: Path
    moments: random.Random
    workers: list[Any] = field(default_factory=list)
    driver: subprocess.Popen[bytes] | None = None
    sweep_id: str = CALM

    def start(self) -> None:
        """Start the sweep's driver by its command."""
        command = [sys.executable, str(ROOT / "run_sweep.py"), str(self.folder / "sweep.yaml")]
        options = ["--storage", self.storage, "--sweep-id", self.sweep_id, "--address", self.cluster.address]
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def stop(self) -> None:
        """Kill the driver if it still runs."""
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()

    @property
    def log(self) -> Path:
        """File with the output of the sweep's drivers."""
        return self.folder / f"{self.sweep_id}.log"

    @property
    def reports(self) -> int:
        """Number of reports that the sweep has stored."""
        return len(self.store.keys(f"results/v1/reports/sweep_id={self.sweep_id}"))

    def is_over(self) -> bool:
        """Return whether the sweep's driver has ended successfully.

        Raises:
            ChaosError: the driver has ended with an error.
        """
        assert self.driver is not None
        code = self.driver.poll()
        if code:
            printed = self.log.read_text(errors="replace")[-2000:]
            raise ChaosError(f"{self.sweep_id} ended with code {code}:\n{printed}")
        return code == 0

    def finish(self) -> None:
        """Wait for the sweep's end.

        Raises:
            ChaosError: the sweep ends with an error, or hangs.
        """
        seen, since = self.reports, time.monotonic()
        while not self.is_over():
            time.sleep(0.2)
            if self.reports != seen:
                seen, since = self.reports, time.monotonic()
            if time.monotonic() - since > STALLED_SECONDS:
                raise ChaosError(f"{self.sweep_id} hangs after {seen} reports")

    def wait_for_a_moment(self) -> None:
        """Sleep until the next disturbance: in 3 of 4 cases until the next report, then in all cases for 0 to 2 seconds."""
        if self.moments.random() < 0.75:
            seen, deadline = self.reports, time.monotonic() + 30
            while self.reports <= seen and time.monotonic() < deadline and not self.is_over():
                time.sleep(0.05)
        time.sleep(self.moments.uniform(0, 2))

    def kill_trial(self) -> str | None:
        """Kill the process of a random trial with SIGKILL; return a description, or None if no trial runs."""
        found = own_trial_processes()
        if not found:
            return None
        os.kill(self.moments.choice(found), signal.SIGKILL)
        return "a trial's process killed"

    def lose_machine(self) -> str:
        """End a worker's raylet with all its processes, and let another worker join; return a description."""
        self.cluster.remove_node(self.workers.pop(self.moments.randrange(WORKERS)), allow_graceful=False)
        self.workers.append(self.cluster.add_node(num_cpus=1))
        return "a machine lost"

    def kill_driver(self) -> str:
        """Kill the driver with SIGKILL and run its command again; return a description."""
        self.stop()
        self.start()
        return "the driver killed"

    def fail_storage(self) -> str:
        """Make storage fail in a random way for 1 to 6 seconds, in the background; return a description."""
        mode = self.moments.choice(["reset", "503", "hang"])
        self.proxy.fail_for(self.moments.uniform(1, 6), mode)
        return f"storage failing ({mode})"

    def disturb(self) -> str | None:
        """Run one round; return a description of the disturbance, or None if nothing could be disturbed."""
        return self.moments.choice([self.kill_trial, self.lose_machine, self.kill_driver, self.fail_storage])()

    def compare(self) -> list[str]:
        """Return one line for each loss or difference between the sweep and the undisturbed one."""
        found = []
        for read in (read_trials, read_reports):
            ours, theirs = (read(self.store, name).to_pylist() for name in (self.sweep_id, CALM))
            if len(ours) != len(theirs):
                found.append(f"{self.sweep_id}: {read.__name__}: {len(ours)} rows instead of {len(theirs)}")
            else:
                found += [f"{self.sweep_id}: {read.__name__}: {difference}" for difference in differences(ours, theirs)]
        studies = [open_study(SweepStore(self.store, name), modes=["max"]).trials for name in (self.sweep_id, CALM)]
        ours, theirs = ([(t.number, t.state, t.params, t.values, t.intermediate_values) for t in s] for s in studies)
        if ours != theirs:
            found.append(f"{self.sweep_id}: the study differs")
        return found


def run_rounds(arena: Arena, rounds: int, until: float) -> tuple[Counter[str], int, list[str]]:
    """Disturb one sweep after the other.

    Returns:
        How often each disturbance happened, the number of sweeps, and a line for each difference.
    """
    happened: Counter[str] = Counter()
    found: list[str] = []
    sweeps = 0

    def goes_on() -> bool:
        return sum(happened.values()) < rounds and time.monotonic() < until

    while goes_on():
        sweeps += 1
        arena.sweep_id = f"disturbed-{sweeps}"
        arena.start()
        while goes_on():
            arena.wait_for_a_moment()
            if arena.is_over():
                break
            what = arena.disturb()
            if what:
                happened[what] += 1
                number = sum(happened.values())
                print(f"round {number}: {what}, after {arena.reports} reports of {arena.sweep_id}", flush=True)
        arena.finish()
        found += arena.compare()
    return happened, sweeps, found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, and print the disturbances and the differences."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="number of disturbances")
    parser.add_argument("--seed", type=int, default=0, help="seed of the disturbances and their moments")
    parser.add_argument("--trials", type=int, default=6, help="trials of each sweep")
    parser.add_argument("--minutes", type=float, default=math.inf, help="minutes after which disturbances end")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zskt-chaos-")))
        server = stack.enter_context(moto_server())
        boto3.client("s3", endpoint_url=server).create_bucket(Bucket="chaos")
        proxy = FaultyProxy(server)
        stack.callback(proxy.close)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": NOTICED_SOON},
        )
        stack.callback(cluster.shutdown)
        address = "s3://chaos/runs?scheme=http&endpoint_override={}"
        arena = Arena(
            cluster=cluster,
            proxy=proxy,
            storage=address.format(proxy.url.removeprefix("http://")),
            store=find_storage(address.format(server.removeprefix("http://"))),
            folder=folder,
            moments=random.Random(chosen.seed),
            workers=[cluster.add_node(num_cpus=1) for _ in range(WORKERS)],
        )
        stack.callback(arena.stop)
        write_sweep(folder, chosen.trials, chosen.rounds)
        started = time.monotonic()
        try:
            arena.start()
            arena.finish()
            calm = time.monotonic() - started
            print(f"undisturbed: {calm:.0f} s")
            happened, sweeps, found = run_rounds(arena, chosen.rounds, started + 60 * chosen.minutes)
        except ChaosError as error:
            sys.exit(str(error))
        rows, reports = (len(read(arena.store, CALM)) for read in (read_trials, read_reports))
    print(f"\n{sum(happened.values())} rounds, seed {chosen.seed}, in {time.monotonic() - started - calm:.0f} s\n")
    print("| what happened | times |\n| --- | ---: |")
    for what, times in sorted(happened.items()):
        print(f"| {what} | {times} |")
    print(
        f"\n{sweeps} sweep{'s' * (sweeps > 1)} of {rows} trials and {reports} reports compared: {len(found)} differences"
    )
    print("\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
