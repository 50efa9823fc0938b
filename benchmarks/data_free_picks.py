"""Regret of choosing by the data-free score after a confirmation, compared with choosing by labels.

    python run_sweep.py data-free-selection
    python -m benchmarks.data_free_picks data-free-selection-1a2b3c4d --top 5 --seeds 5

The best trials of each sweep by ``data_free_score`` and the best by validation accuracy run again with new seeds and the
full budget, as in ``zskt confirm``. Each side then picks the best of its own trials by the mean of its own metric, so the
score's side uses no labels. Settings with an incomplete run are not picked. Both picks, and the trial that had the highest
score in the sweep, then run with as many further seeds. Only these seeds enter the table, since the seeds by which a trial
was picked overestimate it. Regret is the test accuracy of the labels' pick minus that of the score's choice, with the 95 %
interval over the seeds. Of a pick with incomplete runs the completed ones count; ``n`` is their number. The storage keeps
all runs, so that the same command resumes after an interruption.
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
    """Return the cases of ``rerun_sweep`` that stand for the best completed trials by a metric, best first.

    Raises:
        SystemExit: no completed trial has the metric.
    """
    rows = [row for row in board.candidates if row.metrics[metric] is not None]
    if not rows:
        raise SystemExit(f"{board.sweep_id}: no completed trial has a {metric}")
    rows.sort(key=lambda row: (-row.metrics[metric], row.trial_number))
    published = board.published
    return [BASELINE if row is published else row.trial_id for row in rows[:top]]


def rerun_sweep(board: Leaderboard, cases: Iterable[str], *, seeds: int) -> SweepConfig:
    """Return the sweep that runs cases with new seeds; a call with more cases or seeds extends the same sweep."""
    _, sweep = confirmation_sweep(board, top=len(board.rows), seeds=seeds)
    return SweepConfig.model_validate(sweep.model_dump() | {"only": list(cases)})


def results_of(board: Leaderboard, cases: Sequence[str], *, seeds: int, console: Console) -> CaseResults:
    """Run the missing trials of these cases with a number of new seeds, and return all results."""
    sweep, sweep_id = rerun_sweep(board, cases, seeds=seeds), f"{board.sweep_id}-picks"
    if not run_sweep(sweep, sweep_id=sweep_id, console=console).finished:
        raise SystemExit("stopped; the same command resumes")
    return read_cases(SweepStore(find_storage(sweep.storage), sweep_id), sweep)


def pick(results: CaseResults, among: Sequence[str], metric: str) -> str:
    """Return the case with the highest mean of a metric over all seeds, among cases whose runs are all complete.

    Raises:
        SystemExit: every case has an incomplete run.
    """
    values = {case: results.values(case, metric) for case in among}
    means = {case: statistics.fmean(found) for case, found in values.items() if len(found) == len(results.sweep.seeds)}
    if not means:
        raise SystemExit(f"each of {', '.join(among)} has a run without a final {metric}: there is nothing to pick")
    return max(means, key=lambda case: means[case])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    parser.add_argument("--storage", default="./runs")
    parser.add_argument("--top", type=int, default=5, help="trials of each side that run again, at least 1")
    parser.add_argument("--seeds", type=int, default=5, help="seeds for picking, and as many for measuring; at least 2")
    options = parser.parse_args(arguments)
    if options.top < 1 or options.seeds < 2:
        parser.error("--top must be at least 1 and --seeds at least 2")
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
