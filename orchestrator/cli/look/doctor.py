"""``zskt doctor``: what would go wrong, before it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Address, Verbose, errors_as_messages, storage_config
from orchestrator.cli.sweep_options import CaseOptions, SweepOptions, given_options, with_options
from orchestrator.errors import ConfigError
from orchestrator.output import standard_output


@with_options
def doctor(
    *,
    options: SweepOptions,
    cases: CaseOptions,
    preset_or_file: Annotated[
        str | None,
        typer.Argument(
            metavar="[PRESET_OR_FILE]", help="A sweep, whose data sets, teachers and resources are looked at."
        ),
    ] = None,
    address: Address = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The cluster's description, for its spot quota. Default: the head's own."),
    ] = None,
    start_worker: Annotated[
        bool,
        typer.Option(
            "--start-worker", help="Have the autoscaler start a machine to be looked at, where it may start any."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Look for what would go wrong. Versions, GPUs, storage, data, teachers, clocks, quota; exit code 1 if something would.

    Example: zskt doctor step-ratio-temperature --storage s3://bucket/prefix --address auto
    """
    out = standard_output()
    with errors_as_messages(verbose):
        sweep = None
        place = None if options.storage is None else storage_config(options.storage)
        if preset_or_file is not None:
            sweep, _ = options.checked(options.load(preset_or_file, cases.flags))
            place = sweep.storage
        elif of_a_sweep := [name for name in [*given_options(options), *given_options(cases)] if name != "--storage"]:
            raise ConfigError(f"{', '.join(of_a_sweep)}: of a sweep, and none is named; give a preset or a file too")
        # What is slow to load waits until the arguments are known to be right.
        from orchestrator.commands.doctor import examine

        problems = 0
        for finding in examine(place, sweep, address=address, cluster=cluster, worker=start_worker):
            problems += finding.outcome == "problem"
            style = {"ok": "green", "problem": "red", "skipped": "yellow"}[finding.outcome]
            out.say(str(finding), style=style)
    if problems:
        out.say(f"{problems} problem{'' if problems == 1 else 's'}")
        raise typer.Exit(1)
