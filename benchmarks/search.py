"""Comparison of the search with chance: TPE with ASHA against random search with equal floating-point operations.

    python -m benchmarks.search --repeats 5 --trials 40 --seeds 5

Each repeat has its own seed. After the search, random search runs as many whole trials as the operations of the search
allow. The best completed setting of each then runs with new seeds and the full budget. The table compares these runs, seed
by seed, since the best value within a search is partly luck. The storage keeps all runs, so that the same command resumes
after an interruption.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from optuna.storages import InMemoryStorage
from rich.console import Console

from orchestrator.analysis.confirmation import Confirmation
from orchestrator.analysis.leaderboard import Leaderboard, read_leaderboard
from orchestrator.analysis.paired import PairedDifference, paired_difference
from orchestrator.commands.confirm import confirm
from orchestrator.config import BASELINE, SweepConfig
from orchestrator.config.loading import load_sweep
from orchestrator.run.sweep import run_sweep
from orchestrator.search.space import infer_domains, published_settings
from orchestrator.search.study import SweepStudy
from orchestrator.search.sweep_search import SweepSearch
from orchestrator.storage import SweepStore, find_storage
from search_spaces import resolve_space
from trainables.compute.flops import step_flops
from trainables.config import ZeroShotConfig


def searched(sweep: SweepConfig, sweep_id: str, console: Console) -> Leaderboard:
    """Run the missing trials of a sweep, and return its leaderboard."""
    if not run_sweep(sweep, sweep_id=sweep_id, console=console).finished:
        raise KeyboardInterrupt
    return read_leaderboard(SweepStore(find_storage(sweep.storage), sweep_id))


def work(board: Leaderboard) -> float:
    """Return the floating-point operations of all trials of a sweep, stopped ones included."""
    return sum(row.metrics["training_flops"] or 0.0 for row in board.rows)


def trials_within(sweep: SweepConfig, flops: float) -> int:
    """Return how many whole trials of random search fit into a number of floating-point operations, at least 2.

    The settings of random search follow from the seed alone, so the number is known before any trial runs.
    """
    space = resolve_space(sweep.space)
    first = published_settings(infer_domains(space, sweep, forbidden=()), ZeroShotConfig)
    search = SweepSearch(
        SweepStudy.create("dry-run", InMemoryStorage(), modes=["max"]), sweep, space, sweep_id="dry-run", first=first
    )
    spent, count = 0.0, 0
    while (trial := search.suggest()) is not None:
        config = ZeroShotConfig.model_validate(trial.settings)
        spent += config.total_pseudo_batches * step_flops(config)
        if spent > flops:
            break
        count += 1
    return max(2, count)


def confirmed(board: Leaderboard, seeds: int, console: Console) -> tuple[Confirmation, dict[int, float]]:
    """Confirm a search's best setting; return the confirmation, and the objective of that setting by seed."""
    found = confirm(board, top=1, seeds=seeds, console=console)
    assert board.best is not None  # otherwise confirm has raised an error
    case = BASELINE if board.best.trial_number == 0 else board.best.trial_id
    return found, found.results.by_seed(case, found.objective)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the searches and confirmations, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--storage", default="./runs")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    rows: list[list[str]] = []
    differences: list[float] = []
    for repeat in range(options.repeats):
        common: dict[str, Any] = {"storage": options.storage, "seed": 1000 * (repeat + 1)}
        preset = load_sweep("quickstart", flags={**common, "num_trials": options.trials})
        search = searched(preset, f"search-{repeat}-tpe", console)
        chance = SweepConfig.model_validate(
            preset.model_dump() | {"sampler": {"name": "random"}, "scheduler": {"name": "none"}, "num_trials": 10_000}
        )
        affordable = trials_within(chance, work(search))
        random = searched(chance.model_copy(update={"num_trials": affordable}), f"search-{repeat}-random", console)
        (of_search, ours), (_, theirs) = (confirmed(board, options.seeds, console) for board in (search, random))
        published = of_search.results.by_seed(BASELINE, of_search.objective)
        difference = paired_difference(ours, theirs)
        differences.append(difference.mean)
        rows.append(
            [
                str(repeat),
                f"{work(search) / 1e12:.1f}",
                f"{len(search.rows)} ({len(search.candidates)})",
                str(len(random.rows)),
                *(f"{statistics.fmean(values.values()):.2%}" for values in (published, ours, theirs)),
                points(difference),
            ]
        )
    headings = ["repeat", "TFLOP", "trials of TPE + ASHA (completed)", "random trials", "published"]
    print("| " + " | ".join([*headings, "TPE + ASHA", "random", "difference, points [95 %]"]) + " |")
    print("| --- " + "| ---: " * (len(headings) + 2) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    better = sum(difference > 0 for difference in differences)
    print(
        f"\nTPE with ASHA found the better setting in {better} of {len(differences)} repeats, by "
        f"{100 * statistics.fmean(differences):+.2f} points on average; accuracies are means of {options.seeds} new "
        "seeds on validation images."
    )


def points(difference: PairedDifference) -> str:
    """Format a difference of shares and its interval in percentage points."""
    return f"{100 * difference.mean:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


if __name__ == "__main__":
    main()
