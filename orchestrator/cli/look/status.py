"""``zskt status``: show the state of a sweep, from its storage."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live

from orchestrator.cli.options import Storage, Verbose, errors_as_messages, storage_config
from orchestrator.output import standard_output


def status(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep the table up to date until the session ends or Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two updates.")] = 5,
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Show the state of a sweep and its running trials.

    Reads the storage only: the sweep may run on another machine, or have ended.

    Example: zskt status quickstart-1a2b3c4d --watch
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.monitor.status import SweepWatch
        from orchestrator.storage import SweepStore, find_storage

        sweep = SweepWatch(SweepStore(find_storage(storage_config(storage)), sweep_id))
        now = sweep.look()
        room = max(4, out.console.size.height - 9) if out.console.is_terminal else sys.maxsize
        if watch and out.console.is_terminal:
            with Live(now.render(rows=room), console=out.console, transient=True) as live, suppress(KeyboardInterrupt):
                while not now.over:
                    time.sleep(every)
                    now = sweep.look()
                    live.update(now.render(rows=room))
        out.table(now.render(rows=room))
