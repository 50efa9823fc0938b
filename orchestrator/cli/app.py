"""The ``zskt`` command, and ``run_sweep.py``, which is ``zskt sweep``.

Heavy imports wait until the arguments are known to be right: a typing error is answered in a fraction of a second.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.cli.files.storage import dataset, delete, sweeps
from orchestrator.cli.look.doctor import doctor
from orchestrator.cli.look.evaluate import evaluate
from orchestrator.cli.look.report import leave_report, report, status
from orchestrator.cli.options import (
    INTERRUPTED,
    Address,
    CreateBucket,
    Storage,
    Verbose,
    complete_preset,
    errors_as_messages,
    make_bucket,
    make_console,
    program,
    same_command,
    storage_config,
    this_command,
)
from orchestrator.cli.run.confirm import confirm, rerun
from orchestrator.cli.run.reproduce import plan, reproduce
from orchestrator.cli.sweep_options import SweepOptions, with_options
from orchestrator.config import SweepConfig
from orchestrator.config.blocks import StorageConfig
from orchestrator.config.loading import load_sweep
from orchestrator.storage.layout import RESULTS
from search_spaces.presets import preset_names

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.analysis.leaderboard import Leaderboard
    from trainables.storage.object_store import ObjectStore

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


@with_options
def sweep(
    *,
    preset_or_file: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_FILE", help="A preset's name or a YAML file.", autocompletion=complete_preset
        ),
    ],
    options: SweepOptions,
    address: Address = None,
    create_bucket: CreateBucket = False,
    verbose: Verbose = False,
) -> None:
    """Run a sweep, or what is left of it.

    Example: zskt sweep quickstart --num-trials 24 --set temperature=2
    """
    console = make_console()
    with errors_as_messages(verbose):
        config = options.load(
            preset_or_file, say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)
        )
        if create_bucket:
            make_bucket(config.storage, console)
        from orchestrator.run.sweep import run_sweep

        outcome = run_sweep(config, sweep_id=options.sweep_id, address=address, console=console)
        came_to_something = _show_results(console, config, outcome.sweep_id, preset_or_file)
        leave_report(console, config.storage, outcome.sweep_id)
    if outcome.out_of_budget:
        console.print(
            f"Budget reached: {outcome.out_of_budget}. With a larger one the same command goes on: {same_command()}",
            highlight=False,
            soft_wrap=True,
        )
    elif not outcome.finished:
        console.print(
            f"Stopped. The same command goes on with this sweep: {same_command()}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)
    if not came_to_something:
        raise typer.Exit(1)


def results(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    storage: Storage = None,
    verbose: Verbose = False,
) -> None:
    """Show the leaderboard of a sweep.

    Example: zskt results quickstart-1a2b3c4d --storage ./runs
    """
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage

    with errors_as_messages(verbose):
        store = find_storage(storage_config(storage))
        board = read_leaderboard(store, sweep_id)
        make_console().print(_results_table(board, store))


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
        from orchestrator.monitor.dashboard import serve_dashboard
        from orchestrator.storage import find_storage

        store = find_storage(storage or SweepConfig.model_fields["storage"].default)
        serve_dashboard(store, sweep_id, port=port, console=make_console())


def presets() -> None:
    """List the presets.

    Example: zskt presets
    """
    console = make_console()
    for name in preset_names():
        console.print(f"{name}: {load_sweep(name).description}", highlight=False)


for _command in (
    sweep,
    reproduce,
    plan,
    confirm,
    rerun,
    results,
    dashboard,
    presets,
    report,
    status,
    sweeps,
    delete,
    doctor,
):
    app.command()(_command)
app.add_typer(evaluate, name="evaluate")
app.add_typer(dataset, name="dataset")


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
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.storage import find_storage, shown

    store = find_storage(config.storage)
    board = read_leaderboard(store, sweep_id)
    if board.rows:
        console.print(_results_table(board, store))
        counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in board.states().items())
        console.print(f"{board.ended_of_all} trials ended: {counts}", highlight=False)
    for error in board.errors():
        console.print(f"failed because of: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    command = None if board.sweep.cases else board.rerun_command(this_command(), preset_or_file)
    if command:
        console.print(f"Best setting again: {command}", highlight=False, soft_wrap=True)
    if board.contenders:
        sure = f"{program('zskt')} confirm {sweep_id}{_storage_option(config)}"
        console.print(f"Is it really better? New seeds tell: {sure}", highlight=False, soft_wrap=True)
    again = f"{program('zskt')} results {sweep_id}{_storage_option(config)}"
    where = shown(config.storage).rstrip("/")
    console.print(f"Results: {where}/{RESULTS}, shown by: {again}", highlight=False, soft_wrap=True)
    return not board.rows or any(row["state"] in {"completed", "stopped_early"} for row in board.rows)


def _storage_option(config: SweepConfig) -> str:
    """The option that a command needs to find the storage; empty where it is the default."""
    uri = config.storage.uri
    return "" if uri == StorageConfig().uri else f" --storage {shlex.quote(uri)}"


def _results_table(board: Leaderboard, store: ObjectStore) -> Table:
    """Trials in order of merit, or where nothing is searched, cases in the order of their file."""
    if not board.sweep.cases:
        return board.table()
    from orchestrator.analysis.cases import read_cases

    return read_cases(store, board.sweep, board.sweep_id).table(board.sweep_id)
