"""``zskt report``: make one page about sweeps from their storage."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Storage, Verbose, check_output, errors_as_messages, storage_config
from orchestrator.output import Output, standard_output

if TYPE_CHECKING:
    from orchestrator.config.blocks import StorageConfig


def report(
    sweep_ids: Annotated[
        list[str],
        typer.Argument(metavar="SWEEP...", help="Ids of sweeps; several sweeps are compared with each other."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: on the storage; for several sweeps ./report.html."),
    ] = None,
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Make one HTML page about one or several sweeps.

    The sweeps may be running. The page needs no network to open.

    Example: zskt report quickstart-1a2b3c4d --output report.html
    """
    out = standard_output()
    with errors_as_messages(verbose):
        check_output(output)
        place = storage_config(storage)
        if output is None and len(set(sweep_ids)) == 1:
            where = _write(place, sweep_ids[0])
        else:
            # Plotly and pandas take a second, which a typing error should not wait for.
            from orchestrator.report import make_report
            from orchestrator.results import SweepResults
            from orchestrator.storage import SweepStore, find_storage

            page = output or Path("report.html")
            # The other sweeps reuse what the first one reads.
            first = SweepResults(SweepStore(find_storage(place), sweep_ids[0]))
            page.write_text(make_report([first.sibling(sweep_id) for sweep_id in sweep_ids]), encoding="utf-8")
            where = str(page)
        out.say(f"Report: {where}")


def leave_report(out: Output, storage: StorageConfig, sweep_id: str) -> None:
    """Write a sweep's report to its storage at the end of a session. A failure is only a warning: the results are safe."""
    try:
        out.say(f"Report: {_write(storage, sweep_id)}")
    except Exception as error:  # any error of a figure: the sweep itself has ended well
        command = shlex.join(["zskt", "report", sweep_id, "--storage", storage.uri, "--verbose"])
        out.warn(f"warning: no report was written: {error or type(error).__name__}. Again, with the cause: {command}")


def _write(storage: StorageConfig, sweep_id: str) -> str:
    """Write the report of a sweep to its storage, and return its address.

    Raises:
        StorageError: the storage cannot be used.
        SweepNotFoundError: the storage has no such sweep.
    """
    # Plotly and pandas take a second, which a typing error should not wait for.
    from orchestrator.report import write_report
    from orchestrator.storage import SweepStore, find_storage, shown

    return f"{shown(storage).rstrip('/')}/{write_report(SweepStore(find_storage(storage), sweep_id))}"
