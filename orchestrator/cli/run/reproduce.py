"""``zskt reproduce``: run a published experiment and print a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.look.report import leave_report
from orchestrator.cli.options import (
    Cpus,
    CreateBucket,
    DataRoot,
    Gpus,
    Storage,
    TrustCode,
    Verbose,
    check_output,
    complete_preset,
    errors_as_messages,
    fetch_images,
    make_bucket,
    same_command,
    stop_here,
    with_resources,
)
from orchestrator.cli.sweep_options import BackendOptions, CaseOptions, with_options
from orchestrator.output import standard_output


@with_options
def reproduce(
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A preset with cases, such as paper-table-1.", autocompletion=complete_preset
        ),
    ],
    cases: CaseOptions,
    storage: Storage = None,
    data_root: DataRoot = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    trust_code: TrustCode = None,
    backend: BackendOptions,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run missing trials first, or judge only the existing ones.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table and this command to a Markdown file.")
    ] = None,
    create_bucket: CreateBucket = False,
    verbose: Verbose = False,
) -> None:
    """Run a published experiment and compare the numbers.

    Only missing trials are run. Each case gets a verdict.

    Example: zskt reproduce paper-table-1 --scale 0.01 --teacher wrn-16-2=wrn-16-2.pt --only wrn-16-2-to-wrn-16-1
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.reproduce import reproduce as run_and_judge
        from orchestrator.config.loading import load_sweep
        from orchestrator.reproduction import rules, verdict_markdown, verdict_table
        from orchestrator.reproduction.sweep_verdicts import NOT_COMPARABLE

        flags = cases.flags | {"storage": storage, "data_root": data_root}
        config = with_resources(load_sweep(target, flags=flags, fetch=fetch_images, say=out.say), cpus, gpus)
        check_output(output)
        if create_bucket:
            make_bucket(config.storage, out)
        result = run_and_judge(
            config, backend=backend.choice, console=out.console, run=run, trusted_code=trust_code or ()
        )
        if any(NOT_COMPARABLE in judgement.note for judgement in result.judgements):
            out.warn(
                "Not comparable: some students below have other teachers than the published ones (see the notes). Name the "
                "published teachers with --teacher NETWORK=FILE, or run at --scale 1, which trains them by the whole recipe."
            )
        out.table(verdict_table(result.judgements))
        for rule in rules(result.judgements):
            out.say(rule)
        if run:
            leave_report(out, config.storage, result.sweep_id)
        if output:
            output.write_text(f"```sh\n{same_command()}\n```\n\n{verdict_markdown(result.judgements)}")
            out.say(f"Table: {output}")
    if not result.finished:
        stop_here(out)
