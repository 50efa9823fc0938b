"""``zskt reproduce`` and ``zskt plan``: the paper's experiments, and what a sweep would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.report import leave_report
from orchestrator.cli.shared import (
    Address,
    Cpus,
    CreateBucket,
    DataRoot,
    Gpus,
    Objective,
    Prices,
    Storage,
    Teachers,
    Verbose,
    check_output,
    complete_preset,
    errors_as_messages,
    make_bucket,
    make_console,
    same_command,
    stop_here,
    teachers_by_network,
    with_resources,
)
from orchestrator.loading import load_sweep


def reproduce(  # noqa: PLR0917 (typer makes the options of the parameters)
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A preset of cases, such as paper-table-1.", autocompletion=complete_preset
        ),
    ],
    scale: Annotated[
        float | None,
        typer.Option(help="Share of every training that is run, in (0, 1]; below 1 the verdict is by learning curve."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0 on. Default: the preset's.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CASE", help="Run this case; may be given again.")] = None,
    teachers: Teachers = None,
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
        from orchestrator.judging import NOT_COMPARABLE
        from orchestrator.reproduce import reproduce as run_and_judge
        from orchestrator.reproduction import rules, verdict_markdown, verdict_table

        flags = _case_flags(scale, seeds, only, teachers) | {"storage": storage, "data_root": data_root}
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


def plan(  # noqa: PLR0917 (typer makes the options of the parameters)
    preset_or_file: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_FILE", help="A preset's name or a YAML file.", autocompletion=complete_preset
        ),
    ],
    scale: Annotated[float | None, typer.Option(help="Share of every training that would be run, in (0, 1].")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0 on. Default: the preset's.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CASE", help="Count this case; may be given again.")] = None,
    num_trials: Annotated[int | None, typer.Option(help="Trials in all, of a search.")] = None,
    objective: Objective = None,
    teachers: Teachers = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Storage with earlier sweeps, whose trials tell what one takes."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The cluster's description, such as cluster.yaml: its machines set the price."
        ),
    ] = None,
    prices: Prices = None,
    verbose: Verbose = False,
) -> None:
    """Say what a sweep would cost. Trials, updates, GPU hours and money: from earlier sweeps, or a short probe here.

    Example: zskt plan paper-table-1 --scale 0.01 --cluster cluster.yaml
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.market import find_market
        from orchestrator.plan import make_plan
        from orchestrator.storage import find_storage

        flags = {"num_trials": num_trials, "objective": objective, "storage": storage, "prices": prices}
        config = load_sweep(preset_or_file, flags=_case_flags(scale, seeds, only, teachers) | flags)
        config = with_resources(config, cpus, gpus)
        found = make_plan(config, store=find_storage(config.storage), market=find_market(config, cluster))
        console.print(found.table())
        for line in found.sentences():
            console.print(line, highlight=False, soft_wrap=True)


def _case_flags(
    scale: float | None, seeds: int | None, only: list[str] | None, teachers: list[str] | None
) -> dict[str, Any]:
    """Fields of ``SweepConfig`` from the options that all commands about cases have."""
    return {
        "scale": scale,
        "seeds": list(range(seeds)) if seeds else None,
        "only": only or None,
        "teachers": teachers_by_network(teachers or []) or None,
    }
