"""``zskt confirm``: run the best settings of a search with new seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.cli.look.report import leave_report
from orchestrator.cli.options import (
    Cpus,
    Gpus,
    Storage,
    TrustCode,
    Verbose,
    errors_as_messages,
    read_board_to_run,
    stop_here,
    with_resources,
)
from orchestrator.cli.sweep_options import BackendOptions, with_options
from orchestrator.output import standard_output


@with_options
def confirm(
    *,
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a search.")],
    top: Annotated[int, typer.Option(min=1, help="Number of best settings to confirm.")] = 3,
    seeds: Annotated[int, typer.Option(min=2, help="Number of new seeds; a larger number later adds seeds.")] = 5,
    storage: Storage = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    trust_code: TrustCode = None,
    backend: BackendOptions,
    verbose: Verbose = False,
) -> None:
    """Run the best settings of a search again with new seeds.

    Prints how confident one can be that they are better than the published settings.

    Example: zskt confirm quickstart-1a2b3c4d --top 3 --seeds 5
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.confirm import confirm as run_and_compare

        board = read_board_to_run(sweep_id, storage, trust_code)
        board = replace(board, sweep=with_resources(board.sweep, cpus, gpus))
        found = run_and_compare(
            board, top=top, seeds=seeds, backend=backend.choice, console=out.console, trusted_code=trust_code or ()
        )
        out.table(found.table())
        out.say(found.conclusion())
        leave_report(out, board.sweep.storage, sweep_id)
    if not found.finished:
        stop_here(out)
