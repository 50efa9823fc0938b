"""``zskt reproduce`` and ``zskt plan``: the paper's experiments, and what a sweep would cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.look.report import leave_report
from orchestrator.cli.options import (
    Address,
    Cpus,
    CreateBucket,
    DataRoot,
    Gpus,
    Storage,
    Verbose,
    check_output,
    complete_preset,
    errors_as_messages,
    make_bucket,
    make_console,
    same_command,
    stop_here,
    with_resources,
)
from orchestrator.cli.sweep_options import CaseOptions, SweepOptions, with_options
from orchestrator.config.loading import load_sweep


@with_options
def reproduce(
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A preset of cases, such as paper-table-1.", autocompletion=complete_preset
        ),
    ],
    cases: CaseOptions,
    storage: Storage = None,
    data_root: DataRoot = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    address: Address = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run what is missing, or judge only what is there.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table, with this command, to a Markdown file too.")
    ] = None,
    create_bucket: CreateBucket = False,
    verbose: Verbose = False,
) -> None:
    """Run a published experiment and judge it by its numbers. Only what is missing is run.

    Example: zskt reproduce paper-table-1 --scale 0.01 --teacher wrn-16-2=wrn-16-2.pt --only wrn-16-2-to-wrn-16-1
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.commands.reproduce import reproduce as run_and_judge
        from orchestrator.reproduction import rules, verdict_markdown, verdict_table
        from orchestrator.reproduction.sweep_verdicts import NOT_COMPARABLE

        flags = cases.flags | {"storage": storage, "data_root": data_root}
        config = with_resources(load_sweep(target, flags=flags), cpus, gpus)
        check_output(output)
        if create_bucket:
            make_bucket(config.storage, console)
        result = run_and_judge(config, address=address, console=console, run=run)
        if any(NOT_COMPARABLE in judgement.note for judgement in result.judgements):
            console.print(
                "Not comparable: verdicts below are about students of other teachers than the published ones (see notes). "
                "Give those with --teacher NETWORK=FILE, or run at --scale 1, which trains teachers by the whole recipe.",
                style="yellow",
                soft_wrap=True,
            )
        console.print(verdict_table(result.judgements))
        for rule in rules(result.judgements):
            console.print(rule, highlight=False, markup=False, soft_wrap=True)
        if run:
            leave_report(console, config.storage, result.sweep_id)
        if output:
            output.write_text(f"```sh\n{same_command()}\n```\n\n{verdict_markdown(result.judgements)}")
            console.print(f"Table: {output}", highlight=False, soft_wrap=True)
    if not result.finished:
        stop_here(console)


@with_options
def plan(
    *,
    preset_or_file: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_FILE", help="A preset's name or a YAML file.", autocompletion=complete_preset
        ),
    ],
    options: SweepOptions,
    cases: CaseOptions,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The cluster's description, such as cluster.yaml: its machines set the price. Default: the cluster whose "
            "head this is, else every machine with a price.",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a few steps of each kind of trial on this machine, in minutes.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Say what a sweep would cost: trials, updates, GPU hours, USD. From earlier sweeps, or counted operations.

    Example: zskt plan paper-table-1 --scale 0.01 --cluster cluster.yaml
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.costs.estimate import make_plan
        from orchestrator.costs.estimate_page import plan_sentences, plan_table
        from orchestrator.costs.pricing import find_market
        from orchestrator.run.checks import check_countable

        config, store = options.checked(options.load(preset_or_file, cases.flags))
        market = find_market(config, cluster)
        say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        found = make_plan(
            config, store=store, sweep_id=options.sweep_id, market=market, measure=say if measure else None
        )
        check_countable(found.sweep, market.machines if market.named else (), market.prices)
        console.print(plan_table(found))
        for line in plan_sentences(found):
            say(line)
