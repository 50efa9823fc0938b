"""``zskt doctor``: check the machines, the storage and the inputs before a sweep runs."""

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
            metavar="[PRESET_OR_FILE]", help="A sweep whose data sets, teachers and resources are checked too."
        ),
    ] = None,
    address: Address = None,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Cluster description, to check its spot quota. Default: that of the cluster whose head this is.",
        ),
    ] = None,
    start_worker: Annotated[
        bool,
        typer.Option(
            "--start-worker", help="Let the autoscaler start a machine to check, if none is up and it may start one."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Check versions, GPUs, storage, data, teachers and quotas.

    Clocks are checked too. The exit code is 1 if there is a problem.

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
            raise ConfigError(
                f"{', '.join(of_a_sweep)}: only for a sweep, and none is named; name a preset or a file too"
            )
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.doctor import examine

        problems = 0
        for finding in examine(place, sweep, address=address, cluster=cluster, worker=start_worker):
            problems += finding.outcome == "problem"
            style = {"ok": "green", "problem": "red", "skipped": "yellow"}[finding.outcome]
            out.say(str(finding), style=style)
    if problems:
        out.say(f"{problems} problem{'' if problems == 1 else 's'}")
        raise typer.Exit(1)
