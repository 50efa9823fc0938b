"""``zskt results``: show the leaderboard of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Storage, Verbose, errors_as_messages, storage_config
from orchestrator.output import standard_output

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.analysis.leaderboard import Leaderboard
    from orchestrator.storage import SweepStore


def results(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Show the leaderboard of a sweep.

    Example: zskt results quickstart-1a2b3c4d --storage ./runs
    """
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import SweepStore, find_storage

    with errors_as_messages(verbose):
        sweep_store = SweepStore(find_storage(storage_config(storage)), sweep_id)
        board, out = read_leaderboard(sweep_store), standard_output()
        out.table(results_table(board, sweep_store))
        if board.unknown:
            out.say(board.unknown)


def results_table(board: Leaderboard, sweep_store: SweepStore) -> Table:
    """Return the table of a search's trials, best first, or of a sweep's cases, in the order of their file."""
    if not board.sweep.cases:
        return board.table()
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.analysis.cases import read_cases

    return read_cases(sweep_store, board.sweep).table(board.sweep_id)
