"""What choosing by the score costs once the best few have run again: the pick of a score against the pick of labels.

    python run_sweep.py data-free-selection
    python -m benchmarks.data_free_picks data-free-selection-1a2b3c4d --top 5 --seeds 5

Of each sweep the best trials by ``data_free_score`` and the best by validation accuracy run again with new seeds, at full
budget, as ``zskt confirm`` does. Each side then picks among its own by the mean of what it goes by, so that the score's side
has seen no label; a setting of which a run has not come to its end is nobody's pick. What was picked, and what had the
highest score to begin with, runs with as many further seeds, and these alone are in the table: those by which something was
picked flatter it. Regret is how much test accuracy the score's choice lacks against that of labels, with the 95 % interval
over these seeds, for the picks as they are; of a pick some of whose runs came to no end those count that did, and ``n``
says how many. The storage keeps all, so that the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.console import Console

from benchmarks.search import points
from orchestrator.analysis.cases import CaseResults, read_cases
from orchestrator.analysis.leaderboard import Leaderboard, read_leaderboard
from orchestrator.analysis.paired import paired_difference
from orchestrator.commands.confirm import confirmation_sweep
from orchestrator.config import BASELINE, SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import SweepNotFoundError
from orchestrator.run.sweep import run_sweep
from orchestrator.storage import SweepStore, find_storage

SCORE, LABELS, AUDIT = "data_free_score", "validation_accuracy", "test_accuracy"


def finalists(board: Leaderboard, metric: str, top: int) -> list[str]:
    """Of the best completed trials by a metric the case that each is in ``rerun_sweep``, best first.

    Raises:
        SystemExit: the sweep has not measured it.
    """
    rows = [row for row in board.candidates if row.metrics[metric] is not None]
    if not rows:
        raise SystemExit(f"{board.sweep_id}: no completed trial has a {metric}")
    rows.sort(key=lambda row: (-row.metrics[metric], row.trial_number))
    published = board.published
    return [BASELINE if row is published else row.trial_id for row in rows[:top]]


def rerun_sweep(board: Leaderboard, cases: Iterable[str], *, seeds: int) -> SweepConfig:
    """Return the sweep that runs cases with new seeds; a later call with more of either resumes the same sweep."""
    _, sweep = confirmation_sweep(board, top=len(board.rows), seeds=seeds)
    return SweepConfig.model_validate(sweep.model_dump() | {"only": list(cases)})


def results_of(board: Leaderboard, cases: Sequence[str], *, seeds: int, console: Console) -> CaseResults:
    """Run what is missing of these cases with so many new seeds."""
    sweep, sweep_id = rerun_sweep(board, cases, seeds=seeds), f"{board.sweep_id}-picks"
    if not run_sweep(sweep, sweep_id=sweep_id, console=console).finished:
        raise SystemExit("stopped; the same command goes on")
    return read_cases(SweepStore(find_storage(sweep.storage), sweep_id), sweep)


def pick(results: CaseResults, among: Sequence[str], metric: str) -> str:
    """Return the case with the highest mean of a metric over all seeds.

    Raises:
        SystemExit: there is none of which every run has come to its end.
    """
    values = {case: results.values(case, metric) for case in among}
    means = {case: statistics.fmean(found) for case, found in values.items() if len(found) == len(results.sweep.seeds)}
    if not means:
        raise SystemExit(
            f"of {', '.join(among)} each has a run without a {metric} at its end: there is nothing to pick"
        )
    return max(means, key=lambda case: means[case])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    parser.add_argument("--storage", default="./runs")
    parser.add_argument("--top", type=int, default=5, help="At least 1.")
    parser.add_argument("--seeds", type=int, default=5, help="To pick by, and as many more to measure by; at least 2.")
    options = parser.parse_args(arguments)
    if options.top < 1 or options.seeds < 2:
        parser.error("--top takes 1 or more, --seeds 2 or more")
    console = Console(stderr=True)
    place = StorageConfig(uri=options.storage)
    print("| sweep | first by score | picked by score | picked by labels | regret of the first | regret of the pick |")
    print("| --- | --- | --- | --- | --- | --- |")
    for sweep_id in options.sweeps:
        try:
            board = read_leaderboard(SweepStore(find_storage(place), sweep_id))
        except SweepNotFoundError as error:
            raise SystemExit(str(error)) from error
        board = replace(board, sweep=board.sweep.model_copy(update={"storage": place}))
        by_score, by_labels = (finalists(board, metric, options.top) for metric in (SCORE, LABELS))
        tried = results_of(board, list(dict.fromkeys(by_score + by_labels)), seeds=options.seeds, console=console)
        chosen = [by_score[0], pick(tried, by_score, SCORE), pick(tried, by_labels, LABELS)]
        measured = results_of(board, list(dict.fromkeys(chosen)), seeds=2 * options.seeds, console=console)
        new = measured.sweep.seeds[options.seeds :]
        accuracies = [
            {seed: value for seed, value in measured.by_seed(case, AUDIT).items() if seed in new} for case in chosen
        ]
        cells = [
            f"{case}, {statistics.fmean(found.values()):.1%} (n={len(found)} of {len(new)})"
            if found
            else f"{case}, none"
            for case, found in zip(chosen, accuracies, strict=True)
        ]
        cells += [points(paired_difference(accuracies[2], found)) for found in accuracies[:2]]
        print(f"| {sweep_id} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
