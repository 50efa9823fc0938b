"""``zskt confirm`` and ``zskt rerun``: trials of a sweep once more, with new seeds or the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.look.report import leave_report
from orchestrator.cli.options import (
    Address,
    Cpus,
    Gpus,
    Storage,
    Verbose,
    errors_as_messages,
    make_console,
    stop_here,
    storage_config,
    with_resources,
)

if TYPE_CHECKING:
    from orchestrator.analysis.leaderboard import Leaderboard


def confirm(  # noqa: PLR0917 (typer makes the options of the parameters)
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a search.")],
    top: Annotated[int, typer.Option(min=1, help="How many of its best settings run again.")] = 3,
    seeds: Annotated[int, typer.Option(min=2, help="With how many seeds; more later go on from there.")] = 5,
    storage: Storage = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Run the best settings of a search with new seeds. Says how surely they beat the published ones.

    Example: zskt confirm quickstart-1a2b3c4d --top 3 --seeds 5
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.commands.confirm import confirm as run_and_compare

        board = _board(sweep_id, storage)
        board = replace(board, sweep=with_resources(board.sweep, cpus, gpus))
        found = run_and_compare(board, top=top, seeds=seeds, address=address, console=console)
        console.print(found.table())
        console.print(found.conclusion(), highlight=False, markup=False, soft_wrap=True)
        leave_report(console, board.sweep.storage, sweep_id)
    if not found.finished:
        stop_here(console)


def rerun(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Id of one of its trials.")],
    storage: Storage = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Run one trial again, and compare its numbers, or whether it fails. Exit code 1 if it came out otherwise.

    Example: zskt rerun quickstart-1a2b3c4d t0009
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.commands.rerun import rerun as run_and_compare

        found = run_and_compare(_board(sweep_id, storage), trial, address=address, console=console)
        if found.now is not None:
            console.print(found.conclusion(), highlight=False, markup=False, soft_wrap=True)
    if found.now is None:
        stop_here(console)
    if found.different:
        raise typer.Exit(1)


def _board(sweep_id: str, storage: str | None) -> Leaderboard:
    """A sweep's ended trials; its storage is where they are now, which may not be where they were written."""
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage

    place = storage_config(storage)
    board = read_leaderboard(find_storage(place), sweep_id)
    return replace(board, sweep=board.sweep.model_copy(update={"storage": place}))
