"""What choosing by the score costs once the best few have run again: the pick of a score against the pick of labels.

    python run_sweep.py data-free-selection
    python -m benchmarks.data_free_picks data-free-selection-1a2b3c4d --top 5 --seeds 5

Of each sweep the best trials by ``data_free_score`` and the best by validation accuracy run again with new seeds, at full
budget, as ``zskt confirm`` does. Each side then picks among its own by the mean of what it goes by, so that the score's side
has seen no label. Regret is how much test accuracy the score's pick lacks, over the same seeds. The storage keeps all, so
that the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from benchmarks.search import points
from orchestrator.case_results import CaseResults, read_cases
from orchestrator.confirm import confirmation_sweep
from orchestrator.leaderboard import Leaderboard, read_leaderboard
from orchestrator.paired import paired_difference
from orchestrator.results import Row
from orchestrator.storage import find_storage
from orchestrator.sweep import run_sweep

SCORE, LABELS, AUDIT = "data_free_score", "validation_accuracy", "test_accuracy"


def finalists(board: Leaderboard, metric: str, top: int) -> list[Row]:
    """The best completed trials by a metric, but for the one with the published settings."""
    published = board.published
    rows = [row for row in board.candidates if row is not published and row[metric] is not None]
    return sorted(rows, key=lambda row: (-row[metric], row["trial_number"]))[:top]


def run_again(board: Leaderboard, rows: Sequence[Row], *, seeds: int, console: Console) -> CaseResults:
    """The results of these trials' settings with new seeds."""
    _, sweep = confirmation_sweep(replace(board, rows=list(rows)), top=len(rows), seeds=seeds)
    sweep = sweep.model_copy(update={"only": [row["trial_id"] for row in rows]})
    sweep_id = f"{board.sweep_id}-picks"
    if not run_sweep(sweep, sweep_id=sweep_id, console=console).finished:
        raise KeyboardInterrupt
    return read_cases(find_storage(sweep.storage), sweep, sweep_id)


def pick(results: CaseResults, among: Sequence[Row], metric: str) -> str:
    """The trial whose settings have the highest mean of a metric over the new seeds."""
    cases: list[str] = [row["trial_id"] for row in among]
    return max(cases, key=lambda case: statistics.fmean(results.values(case, metric)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    parser.add_argument("--storage", default="./runs")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    print("| sweep | first by score | picked by score | picked by labels | regret of the first | regret of the pick |")
    print("| --- | --- | --- | --- | --- | --- |")
    for sweep_id in options.sweeps:
        board = read_leaderboard(find_storage(options.storage), sweep_id)
        by_score, by_labels = (finalists(board, metric, options.top) for metric in (SCORE, LABELS))
        both = by_score + [row for row in by_labels if row not in by_score]
        results = run_again(board, both, seeds=options.seeds, console=console)
        first = by_score[0]["trial_id"]
        ours, theirs = pick(results, by_score, SCORE), pick(results, by_labels, LABELS)
        best = results.by_seed(theirs, AUDIT)
        cells = [f"{case}, {statistics.fmean(results.values(case, AUDIT)):.1%}" for case in (first, ours, theirs)]
        cells += [points(paired_difference(best, results.by_seed(case, AUDIT))) for case in (first, ours)]
        print(f"| {sweep_id} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
