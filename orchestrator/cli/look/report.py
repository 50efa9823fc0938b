"""``zskt report`` and ``zskt status``: what one can see of sweeps, from their storage."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from orchestrator.cli.options import Storage, Verbose, check_output, errors_as_messages, make_console, storage_config
from orchestrator.config.blocks import StorageConfig


def report(
    sweep_ids: Annotated[
        list[str], typer.Argument(metavar="SWEEP...", help="Ids of sweeps; several are compared with each other.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the page goes; default: onto the storage, or for several ./report.html."
        ),
    ] = None,
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Make one HTML page about sweeps. They may be running; the page opens anywhere, without a network.

    Example: zskt report quickstart-1a2b3c4d --output report.html
    """
    console = make_console()
    with errors_as_messages(verbose):
        check_output(output)
        from orchestrator.report import make_report, write_report
        from orchestrator.storage import find_storage, shown

        place = storage_config(storage)
        store = find_storage(place)
        if output is None and len(set(sweep_ids)) == 1:
            where = f"{shown(place).rstrip('/')}/{write_report(store, sweep_ids[0])}"
        else:
            page = output or Path("report.html")
            page.write_text(make_report(store, sweep_ids), encoding="utf-8")
            where = str(page)
        console.print(f"Report: {where}", highlight=False, markup=False, soft_wrap=True)


def status(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until it is over or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 5,
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Show how a sweep stands. Read from its storage alone: it may run elsewhere, or have ended long ago.

    Example: zskt status quickstart-1a2b3c4d --watch
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.monitor.status import SweepWatch
        from orchestrator.storage import find_storage

        sweep = SweepWatch(find_storage(storage_config(storage)), sweep_id)
        now = sweep.look()
        room = max(4, console.size.height - 9) if console.is_terminal else sys.maxsize
        if watch and console.is_terminal:
            with Live(now.render(rows=room), console=console, transient=True) as live, suppress(KeyboardInterrupt):
                while not now.over:
                    time.sleep(every)
                    now = sweep.look()
                    live.update(now.render(rows=room))
        console.print(now.render(rows=room))


def leave_report(console: Console, storage: StorageConfig, sweep_id: str) -> None:
    """Put the page about a sweep on its storage at the end of a session. Without it the sweep is as good as with it."""
    from orchestrator.report import write_report
    from orchestrator.storage import find_storage, shown

    try:
        where = f"{shown(storage).rstrip('/')}/{write_report(find_storage(storage), sweep_id)}"
    except Exception as error:  # whatever a figure runs into: the sweep has ended well, and its results are safe
        command = shlex.join(["zskt", "report", sweep_id, "--storage", storage.uri, "--verbose"])
        line = f"warning: no report was written: {error or type(error).__name__}. Again, with the cause: {command}"
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
        return
    console.print(f"Report: {where}", highlight=False, markup=False, soft_wrap=True)
