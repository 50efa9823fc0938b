"""Breaks a sweep at random, again and again, and compares every number with those of one that nobody disturbed.

    python -m benchmarks.chaos --rounds 30

Real sweeps of small trials on a Ray cluster of a head and two workers on this machine, with a bucket as storage (moto
behind a proxy that fails as networks do). In each round one of four things happens at a random moment: the process of a
trial is killed, a machine is lost with its raylet and all that runs there, the driver is killed and its command given
again, or storage fails for some seconds. Rounds do not wait for each other's damage to be mended. When a sweep is finished
the next one begins, until all rounds, or the minutes, are over. Each sweep's rows, reports and study must then equal the
undisturbed one's, times aside. The exit code is 1 if anything is lost or different.
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

# Read when Ray and boto3 are imported or start their processes.
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
"""A sweep that reports nothing for so long, with everything in place, hangs."""

NOTICED_SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""Lets Ray miss a lost machine after two seconds, instead of twelve."""


class ChaosError(Exception):
    """A sweep did not survive; the message says how it ended."""


@dataclass(kw_only=True)
class Arena:
    """What can break, and the sweep that must not."""

    cluster: Cluster
    proxy: FaultyProxy
    storage: str
    """Behind the proxy."""

    store: ObjectStore
    """The same, undisturbed."""

    folder: Path
    moments: random.Random
    workers: list[Any] = field(default_factory=list)
    driver: subprocess.Popen[bytes] | None = None
    sweep_id: str = CALM

    def start(self) -> None:
        """Give the sweep's command."""
        command = [sys.executable, str(ROOT / "run_sweep.py"), str(self.folder / "sweep.yaml")]
        options = ["--storage", self.storage, "--sweep-id", self.sweep_id, "--address", self.cluster.address]
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def stop(self) -> None:
        """End the driver, if it still runs."""
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()

    @property
    def log(self) -> Path:
        """What the sweep's drivers have printed."""
        return self.folder / f"{self.sweep_id}.log"

    @property
    def reports(self) -> int:
        """How many reports the sweep has kept."""
        return len(self.store.keys(f"results/v1/reports/sweep_id={self.sweep_id}"))

    def is_over(self) -> bool:
        """Whether the sweep's driver has ended as it should.

        Raises:
            ChaosError: it has ended otherwise.
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
            ChaosError: it ends with an error, or not at all.
        """
        seen, since = self.reports, time.monotonic()
        while not self.is_over():
            time.sleep(0.2)
            if self.reports != seen:
                seen, since = self.reports, time.monotonic()
            if time.monotonic() - since > STALLED_SECONDS:
                raise ChaosError(f"{self.sweep_id} hangs after {seen} reports")

    def wait_for_a_moment(self) -> None:
        """Mostly a while after the next report, so that there is something to break; now and then at once."""
        if self.moments.random() < 0.75:
            seen, deadline = self.reports, time.monotonic() + 30
            while self.reports <= seen and time.monotonic() < deadline and not self.is_over():
                time.sleep(0.05)
        time.sleep(self.moments.uniform(0, 2))

    def kill_trial(self) -> str | None:
        """SIGKILL for the process of a trial, if there is one."""
        found = own_trial_processes()
        if not found:
            return None
        os.kill(self.moments.choice(found), signal.SIGKILL)
        return "a trial's process killed"

    def lose_machine(self) -> str:
        """End a worker's raylet with all that it started, and let another worker join; return a line on it."""
        self.cluster.remove_node(self.workers.pop(self.moments.randrange(WORKERS)), allow_graceful=False)
        self.workers.append(self.cluster.add_node(num_cpus=1))
        return "a machine lost"

    def kill_driver(self) -> str:
        """SIGKILL for the driver, and its command again."""
        self.stop()
        self.start()
        return "the driver killed"

    def fail_storage(self) -> str:
        """Storage fails in one of its ways, while everything else goes on."""
        mode = self.moments.choice(["reset", "503", "hang"])
        self.proxy.fail_for(self.moments.uniform(1, 6), mode)
        return f"storage failing ({mode})"

    def disturb(self) -> str | None:
        """One round; what happened, none if there was nothing to break."""
        return self.moments.choice([self.kill_trial, self.lose_machine, self.kill_driver, self.fail_storage])()

    def compare(self) -> list[str]:
        """Return what is lost or different in the sweep, a line each."""
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
    """Disturb one sweep after the other; what happened how often, the number of sweeps, and what is different."""
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
    """Print what was done and what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="things that break")
    parser.add_argument("--seed", type=int, default=0, help="of what breaks and when")
    parser.add_argument("--trials", type=int, default=6, help="of each sweep")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which nothing more breaks")
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
