"""Overhead of a sweep beyond training and evaluation: between two trials, and for each report within a trial.

    python -m benchmarks.speed.sweep_overhead --trials 6

The benchmark runs a real sweep on the packaged digits on a local Ray, one trial at a time, with results and checkpoints in
a temporary folder. The overhead is computed from the results: a report has its time and the seconds that its trial had
spent in training and evaluation by then; the rest is overhead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cluster.session import ray_session
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.results import read_reports
from orchestrator.run.sweep import run_sweep
from orchestrator.run.tune import tune_environment
from orchestrator.storage import open_storage

REPORTS_EACH = 5
"""Number of reports of each trial; they are some seconds apart."""


def make_sweep(storage: str, trials: int, pseudo_batches: int, cpus: float) -> SweepConfig:
    """Return a sweep whose trials differ only in their seed and run one after the other, each on the whole machine."""
    flags = {"storage": storage, "seeds": list(range(trials)), "resources": {"cpu": cpus, "gpu": 0}}
    interval = max(1, pseudo_batches // REPORTS_EACH)
    assignments = [f"total_pseudo_batches={pseudo_batches}", f"evaluation_interval={interval}"]
    return load_sweep("digits-table-1", flags=flags, assignments=assignments)


def overheads(reports: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the overhead in seconds between each two successive trials, and at each report after a trial's first."""
    trials: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for report in sorted(reports, key=lambda report: report["reported_at"]):
        busy = report["training_seconds"] + report["evaluation_seconds"]
        trials[report["trial_id"]].append((report["reported_at"].timestamp(), busy))
    between, within = [], []
    last_end: float | None = None
    for points in sorted(trials.values()):
        begun = points[0][0] - points[0][1]
        if last_end is not None:
            between.append(begun - last_end)
        within += [(b[0] - a[0]) - (b[1] - a[1]) for a, b in pairwise(points)]
        last_end = points[-1][0]
    return between, within


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweep, and print its overheads and their share in sweeps of longer trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="number of trials, at least 2")
    parser.add_argument("--pseudo-batches", type=int, default=100, help="pseudo batches of each trial")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as storage, tune_environment(), ray_session("local") as session:
        sweep = make_sweep(storage, chosen.trials, chosen.pseudo_batches, session.cpus)
        run_sweep(sweep, sweep_id="overhead")
        reports = read_reports(open_storage(storage), "overhead").to_pylist()
    between, within = overheads(reports)
    seconds = max(report["training_seconds"] + report["evaluation_seconds"] for report in reports)
    print(f"\n{chosen.trials} trials of {seconds:.0f} s, {REPORTS_EACH} reports each, one after the other\n")
    print("| overhead | median, s | largest, s |\n| --- | ---: | ---: |")
    names = ("from the last report of a trial to the start of the next", "at each further report")
    for name, lost in zip(names, (between, within), strict=True):
        print(f"| {name} | {statistics.median(lost):.3f} | {max(lost):.3f} |")
    for minutes in (2, 10, 60):
        share = (statistics.fmean(between) + (minutes - 1) * statistics.fmean(within)) / (60 * minutes)
        print(f"| share, in trials of {minutes} min with a report a minute | {share:.2%} | |")


if __name__ == "__main__":
    main()
