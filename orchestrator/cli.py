"""The ``zskt`` command, and ``run_sweep.py``, which is ``zskt sweep``.

Heavy imports wait until the arguments are known to be right: a typing error is answered in a fraction of a second.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestrator.cli_doctor import doctor
from orchestrator.cli_evaluate import evaluate
from orchestrator.cli_report import leave_report, report, status
from orchestrator.cli_shared import (
    Address,
    Cpus,
    CreateBucket,
    DataRoot,
    Gpus,
    Prices,
    Storage,
    Teachers,
    Verbose,
    check_output,
    errors_as_messages,
    make_bucket,
    make_console,
    storage_config,
    teachers_by_network,
)
from orchestrator.cli_storage import dataset, delete, sweeps
from orchestrator.config import SweepConfig
from orchestrator.config_blocks import StorageConfig
from orchestrator.config_fields import check_sweep_id
from orchestrator.loading import load_sweep
from orchestrator.results.keys import RESULTS
from search_spaces.presets import preset_names

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.leaderboard import Leaderboard
    from trainables.object_store import ObjectStore

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_EXAMPLES = """\b
Examples:
  zskt sweep quickstart                    search step ratio and temperature on digits, in minutes
  zskt status quickstart-1a2b3c4d --watch  how it stands, from another terminal
  zskt report quickstart-1a2b3c4d          one page about it that can be sent
  zskt confirm quickstart-1a2b3c4d         is the best really better? New seeds tell
  zskt reproduce digits-table-1            a published experiment, and a verdict
  zskt --install-completion                let the shell complete commands, presets and options
"""

app = typer.Typer(
    name="zskt",
    help=f"Zero-shot knowledge transfer: sweeps over a cluster, and their results.\n\n{_EXAMPLES}",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: frames break error messages in logs
    pretty_exceptions_enable=False,
)


def _presets(incomplete: str) -> list[str]:
    """For the shell: presets that begin like this."""
    return [name for name in preset_names() if name.startswith(incomplete)]


@app.command()
def sweep(  # noqa: PLR0917 (typer makes the options of the parameters)
    preset_or_file: Annotated[
        str, typer.Argument(metavar="PRESET_OR_FILE", help="A preset's name or a YAML file.", autocompletion=_presets)
    ],
    storage: Storage = None,
    sweep_id: Annotated[
        str | None,
        typer.Option(help="Name of the sweep; the same name goes on with the same sweep. Default: from the settings."),
    ] = None,
    num_trials: Annotated[int | None, typer.Option(help="Trials in all; more than before extends a sweep.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler and of every trial.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Fix a field of the trial, and take it out of the search."),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(metavar="SWEEP", help="Let the sampler begin with what this sweep found; may be given again."),
    ] = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    budget_usd: Annotated[
        float | None, typer.Option(metavar="USD", help="What all trials may cost together; more later goes on.")
    ] = None,
    budget_gpu_hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="GPU hours that all trials may take together, likewise.")
    ] = None,
    prices: Prices = None,
    data_root: DataRoot = None,
    address: Address = None,
    create_bucket: CreateBucket = False,
    verbose: Verbose = False,
) -> None:
    """Run a sweep, or what is left of it.

    Example: zskt sweep quickstart --num-trials 24 --set temperature=2
    """
    console = make_console()
    with errors_as_messages(verbose):
        config = load_sweep(
            preset_or_file,
            flags={
                "storage": storage,
                "num_trials": num_trials,
                "seed": seed,
                "warm_start": warm_start,
                "budget": {
                    key: value
                    for key, value in {"usd": budget_usd, "gpu_hours": budget_gpu_hours}.items()
                    if value is not None
                }
                or None,
                "prices": prices,
                "data_root": data_root,
            },
            assignments=assignments or (),
        )
        config = _with_resources(config, cpus, gpus)
        if sweep_id is not None:
            check_sweep_id(sweep_id)
        if create_bucket:
            make_bucket(config.storage, console)
        from orchestrator.sweep import run_sweep

        outcome = run_sweep(config, sweep_id=sweep_id, address=address, console=console)
        came_to_something = _show_results(console, config, outcome.sweep_id, preset_or_file)
        leave_report(console, config.storage, outcome.sweep_id)
    if outcome.out_of_budget:
        console.print(
            f"Budget reached: {outcome.out_of_budget}. With a larger one the same command goes on: {_same_command()}",
            highlight=False,
            soft_wrap=True,
        )
    elif not outcome.finished:
        console.print(
            f"Stopped. The same command goes on with this sweep: {_same_command()}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)
    if not came_to_something:
        raise typer.Exit(1)


@app.command()
def reproduce(  # noqa: PLR0917 (typer makes the options of the parameters)
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A preset of cases, such as paper-table-1.", autocompletion=_presets)
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
        from orchestrator.reproduce import NOT_COMPARABLE
        from orchestrator.reproduce import reproduce as run_and_judge
        from orchestrator.reproduction import verdict_markdown, verdict_table

        flags = _case_flags(scale, seeds, only, teachers) | {"storage": storage, "data_root": data_root}
        config = _with_resources(load_sweep(target, flags=flags), cpus, gpus)
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
        if run:
            leave_report(console, config.storage, result.sweep_id)
        if output:
            output.write_text(f"```sh\n{_same_command()}\n```\n\n{verdict_markdown(result.judgements)}")
            console.print(f"Table: {output}", highlight=False, soft_wrap=True)
    if not result.finished:
        console.print(f"Stopped. The same command goes on: {_same_command()}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)


@app.command()
def plan(  # noqa: PLR0917 (typer makes the options of the parameters)
    preset_or_file: Annotated[
        str, typer.Argument(metavar="PRESET_OR_FILE", help="A preset's name or a YAML file.", autocompletion=_presets)
    ],
    scale: Annotated[float | None, typer.Option(help="Share of every training that would be run, in (0, 1].")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, from 0 on. Default: the preset's.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CASE", help="Count this case; may be given again.")] = None,
    num_trials: Annotated[int | None, typer.Option(help="Trials in all, of a search.")] = None,
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

        flags = {"num_trials": num_trials, "storage": storage, "prices": prices}
        config = load_sweep(preset_or_file, flags=_case_flags(scale, seeds, only, teachers) | flags)
        config = _with_resources(config, cpus, gpus)
        found = make_plan(config, store=find_storage(config.storage), market=find_market(config, cluster))
        console.print(found.table())
        for line in found.sentences():
            console.print(line, highlight=False, soft_wrap=True)


@app.command()
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
        from orchestrator.confirm import confirm as run_and_compare

        board = _board(sweep_id, storage)
        board = replace(board, sweep=_with_resources(board.sweep, cpus, gpus))
        found = run_and_compare(board, top=top, seeds=seeds, address=address, console=console)
        console.print(found.table())
        console.print(found.conclusion(), highlight=False, markup=False, soft_wrap=True)
        leave_report(console, board.sweep.storage, sweep_id)
    if not found.finished:
        console.print(f"Stopped. The same command goes on: {_same_command()}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)


@app.command()
def rerun(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Id of one of its trials.")],
    storage: Storage = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Run one trial again, and compare its numbers. Exit code 1 if they did not come out again.

    Example: zskt rerun quickstart-1a2b3c4d t0009
    """
    console = make_console()
    with errors_as_messages(verbose):
        from orchestrator.rerun import rerun as run_and_compare

        found = run_and_compare(_board(sweep_id, storage), trial, address=address, console=console)
        if found.now is not None:
            console.print(found.conclusion(), highlight=False, markup=False, soft_wrap=True)
    if found.now is None:
        console.print(f"Stopped. The same command goes on: {_same_command()}", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    if found.different:
        raise typer.Exit(1)


@app.command()
def results(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Show the leaderboard of a sweep.

    Example: zskt results quickstart-1a2b3c4d --storage ./runs
    """
    from orchestrator.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage

    with errors_as_messages(verbose):
        store = find_storage(storage_config(storage))
        board = read_leaderboard(store, sweep_id)
        make_console().print(_results_table(board, store))


@app.command()
def dashboard(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a search.")],
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens, on this machine alone.")] = 8080,
    verbose: Verbose = False,
) -> None:
    """Show a search in optuna-dashboard. While it runs or afterwards; needs: pip install 'zskt[dashboard]'.

    Example: zskt dashboard quickstart-1a2b3c4d
    """
    with errors_as_messages(verbose):
        from orchestrator.dashboard import serve_dashboard
        from orchestrator.storage import find_storage

        store = find_storage(storage or SweepConfig.model_fields["storage"].default)
        serve_dashboard(store, sweep_id, port=port, console=make_console())


@app.command()
def presets() -> None:
    """List the presets.

    Example: zskt presets
    """
    console = make_console()
    for name in preset_names():
        console.print(f"{name}: {load_sweep(name).description}", highlight=False)


app.command()(report)
app.command()(status)
app.add_typer(evaluate, name="evaluate")
app.add_typer(dataset, name="dataset")
app.command()(sweeps)
app.command()(delete)
app.command()(doctor)


def main() -> None:
    """Entry point of ``zskt``."""
    app()


def run_sweep_main() -> None:
    """Entry point of ``run_sweep.py``: ``zskt sweep`` under the name of that file."""
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    alone.command()(sweep)
    alone(prog_name="run_sweep.py")


def _show_results(console: Console, config: SweepConfig, sweep_id: str, preset_or_file: str) -> bool:
    """Print what a session left; whether any of its trials came to a result."""
    from orchestrator.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage, shown

    store = find_storage(config.storage)
    board = read_leaderboard(store, sweep_id)
    if board.rows:
        console.print(_results_table(board, store))
        counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in board.states().items())
        console.print(f"{len(board.rows)} of {config.num_trials} trials ended: {counts}", highlight=False)
    for error in board.errors():
        console.print(f"failed because of: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    command = None if board.sweep.cases else board.rerun_command(_this_command(), preset_or_file)
    if command:
        console.print(f"Best setting again: {command}", highlight=False, soft_wrap=True)
        sure = f"{_program('zskt')} confirm {sweep_id}{_storage_option(config)}"
        console.print(f"Is it really better? New seeds tell: {sure}", highlight=False, soft_wrap=True)
    again = f"{_program('zskt')} results {sweep_id}{_storage_option(config)}"
    where = shown(config.storage).rstrip("/")
    console.print(f"Results: {where}/{RESULTS}, shown by: {again}", highlight=False, soft_wrap=True)
    return not board.rows or any(row["state"] in {"completed", "stopped_early"} for row in board.rows)


def _board(sweep_id: str, storage: str | None) -> Leaderboard:
    """A sweep's ended trials; its storage is where they are now, which may not be where they were written."""
    from orchestrator.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage

    place = storage_config(storage)
    board = read_leaderboard(find_storage(place), sweep_id)
    return replace(board, sweep=board.sweep.model_copy(update={"storage": place}))


def _storage_option(config: SweepConfig) -> str:
    """The option that a command needs to find the storage; empty where it is the default."""
    uri = config.storage.uri
    return "" if uri == StorageConfig().uri else f" --storage {shlex.quote(uri)}"


def _results_table(board: Leaderboard, store: ObjectStore) -> Table:
    """Trials in order of merit, or where nothing is searched, cases in the order of their file."""
    if not board.sweep.cases:
        return board.table()
    from orchestrator.case_results import read_cases

    return read_cases(store, board.sweep, board.sweep_id).table(board.sweep_id)


def _with_resources(config: SweepConfig, cpus: float | None, gpus: float | None) -> SweepConfig:
    changes = {key: value for key, value in {"cpu": cpus, "gpu": gpus}.items() if value is not None}
    return config.with_resources(**changes) if changes else config


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


def _program(name: str, *arguments: str) -> str:
    """How to call a program of this environment from here: by its name if that finds it, else by its path."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found) == ours:
        return " ".join([name, *arguments])
    inside = ours.is_relative_to(Path.cwd())
    return " ".join([str(ours.relative_to(Path.cwd()) if inside else ours), *arguments])


def _this_command() -> str:
    """How ``sweep`` was called, without its arguments."""
    called = Path(sys.argv[0])
    return _program("zskt", "sweep") if called.name == "zskt" else _program("python", str(called))


def _same_command() -> str:
    called = Path(sys.argv[0])
    program = _program("zskt") if called.name == "zskt" else _program("python", str(called))
    return f"{program} {shlex.join(sys.argv[1:])}"
