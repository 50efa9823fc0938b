"""Effect of early stopping on the quick start: the scheduler is replayed on stored learning curves.

    python -m benchmarks.early_stopping

``benchmarks/data/digits_curves.csv`` holds complete runs of students on the digits: settings near the quick start's, and
the test accuracy after each fifth of the budget. A replayed sweep draws twelve runs with replacement and simulates them two
at a time, with run times proportional to their operations; the real scheduler decides which to stop. ``--more N`` first
adds N runs with random settings from the quick start's search space.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.digits_runs import digits, train_teacher
from orchestrator.config.loading import load_sweep
from orchestrator.schedulers.asha import Asha
from orchestrator.schedulers.base import Decision, SchedulerConfig
from orchestrator.schedulers.none import NoEarlyStopping
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig
from trainables.training.distiller import ZeroShotDistiller

CURVES = Path(__file__).parent / "data" / "digits_curves.csv"
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
COLUMNS = ("settings", "seed", *(f"after_{share:.0%}" for share in SHARES))
"""Columns of the file. ``settings`` holds the fields in which a run differs from the quick start's ``trial``, as JSON."""

CANDIDATES = ((0.25, 3), (0.25, 4), (0.34, 3), (0.5, 2), (0.5, 3), (0.5, 4))
"""Pairs of grace and reduction factor to compare."""


REPORTS = 14
"""Number of reports of a trial of the quick start."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of one student, and its cost."""

    accuracies: tuple[float, ...]
    """Test accuracy at each of ``REPORTS`` equal parts of the budget, interpolated linearly between measurements."""

    work: float
    """Floating-point operations of the whole budget."""


def read_curves(path: Path = CURVES) -> list[Curve]:
    """Read the stored curves."""
    found = []
    for row in csv.DictReader(path.read_text().splitlines()):
        config = config_of(json.loads(row["settings"]), int(row["seed"]))
        measured = [float(row[column]) for column in COLUMNS[2:]]
        # Accuracy at the start is at chance level: a tenth.
        reports = np.interp(np.arange(1, REPORTS + 1) / REPORTS, (0.0, *SHARES), (0.1, *measured))
        work = config.total_pseudo_batches * step_flops(config)
        found.append(Curve(accuracies=tuple(map(float, reports)), work=work))
    return found


def config_of(settings: dict[str, Any], seed: int) -> ZeroShotConfig:
    """Return the config of the quick start's trial with other settings, five reports and no validation images."""
    trial = load_sweep("quickstart").trial | {"validation_fraction": 0, "seed": seed} | settings
    config = ZeroShotConfig.model_validate(trial)
    return config.model_copy(update={"evaluation_interval": config.total_pseudo_batches // len(SHARES)})


def add_runs(count: int, path: Path) -> None:
    """Train students with random settings from the quick start's search space, and append each curve to the file."""
    torch.set_num_threads(1)
    splits = digits()
    teacher = train_teacher(load_sweep("quickstart"), splits)
    made = len(path.read_text().splitlines())
    for number in range(made, made + count):
        draw = np.random.default_rng(number)
        settings = {
            "generator_steps": int(draw.integers(1, 4)),
            "student_steps": int(draw.integers(5, 21)),
            "temperature": round(float(np.exp(draw.uniform(np.log(0.5), np.log(8.0)))), 3),
        }
        distiller = ZeroShotDistiller(config_of(settings, number), teacher=teacher, splits=splits)
        accuracies = [distiller.advance()["test_accuracy"] for _ in SHARES]
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([json.dumps(settings), number, *accuracies])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a replayed sweep."""

    completed: int
    """Number of trials that ran to the end."""

    found_best: bool
    """Whether the trial with the best final accuracy ran to the end."""

    seconds: float
    """Duration of the sweep, in units of the duration of a trial with mean work."""


def replay(curves: Sequence[Curve], scheduler: SchedulerConfig, draw: np.random.Generator) -> Outcome:
    """Simulate one sweep of twelve random curves, two at a time, with a scheduler."""
    rule = scheduler.build(mode="max", budget=REPORTS)
    waiting = [curves[index] for index in draw.integers(len(curves), size=12)]
    best = max(curve.accuracies[-1] for curve in waiting)
    mean_work = float(np.mean([curve.work for curve in curves]))
    events: list[tuple[float, int, int]] = []
    trials: list[Curve] = []
    completed: list[Curve] = []
    now = 0.0

    def start() -> None:
        if waiting:
            trials.append(waiting.pop())
            heapq.heappush(events, (now + trials[-1].work / REPORTS, len(trials) - 1, 1))

    start()
    start()
    while events:
        now, number, report = heapq.heappop(events)
        curve = trials[number]
        accuracy = curve.accuracies[report - 1]
        stops = rule is not None and rule.on_report(f"t{number}", report, accuracy) is Decision.STOP
        if report == REPORTS:
            completed.append(curve)
        if report == REPORTS or stops:
            start()
        else:
            heapq.heappush(events, (now + curve.work / REPORTS, number, report + 1))
    found = bool(completed) and max(curve.accuracies[-1] for curve in completed) == best
    return Outcome(completed=len(completed), found_best=found, seconds=now / mean_work)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how well early accuracies rank students, and a row for each scheduler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", type=int, default=0)
    parser.add_argument("--sweeps", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.more:
        add_runs(options.more, CURVES)
    curves = read_curves()
    ends = [curve.accuracies[-1] for curve in curves]
    print(f"{len(curves)} curves; rank correlation of accuracies with those at the end:")
    for report in range(2, REPORTS, 2):
        correlation = spearmanr([curve.accuracies[report - 1] for curve in curves], ends).statistic
        print(f"after {report / REPORTS:.0%}: {correlation:.2f}")
    print("\n| grace | reduction factor | completed of 12 [90 %] | best trial completed | time |")
    print("| ---: " * 5 + "|")
    for grace, factor in (*CANDIDATES, (1.0, 2)):
        draw = np.random.default_rng(0)
        scheduler = NoEarlyStopping() if grace == 1 else Asha(grace=grace, reduction_factor=factor)
        found = [replay(curves, scheduler, draw) for _ in range(options.sweeps)]
        completed = [outcome.completed for outcome in found]
        low, high = np.percentile(completed, [5, 95])
        best, seconds = (float(np.mean(part)) for part in ([o.found_best for o in found], [o.seconds for o in found]))
        name = "none |" if grace == 1 else f"{grace:g} | {factor}"
        print(f"| {name} | {np.mean(completed):.1f} [{low:.0f}, {high:.0f}] | {best:.0%} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
