"""``zskt sweep``: run or resume a sweep."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.look.report import leave_report
from orchestrator.cli.look.results import results_table
from orchestrator.cli.options import (
    INTERRUPTED,
    CreateBucket,
    Verbose,
    complete_preset,
    errors_as_messages,
    make_bucket,
    program,
    same_command,
    this_command,
)
from orchestrator.cli.sweep_options import BackendOptions, SweepOptions, with_options
from orchestrator.output import Output, standard_output

if TYPE_CHECKING:
    from orchestrator.config import SweepConfig


@with_options
def sweep(
    *,
    preset_or_file: Annotated[
        str,
        typer.Argument(
            metavar="PRESET_OR_FILE", help="Name of a preset, or a YAML file.", autocompletion=complete_preset
        ),
    ],
    options: SweepOptions,
    backend: BackendOptions,
    create_bucket: CreateBucket = False,
    verbose: Verbose = False,
) -> None:
    """Run a sweep, or resume one that was interrupted.

    Example: zskt sweep quickstart --num-trials 24 --set temperature=2
    """
    out = standard_output()
    with errors_as_messages(verbose):
        config = options.load(preset_or_file, say=out.say)
        if create_bucket:
            make_bucket(config.storage, out)
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.run.sweep import run_sweep

        outcome = run_sweep(
            config,
            sweep_id=options.sweep_id,
            backend=backend.choice,
            console=out.console,
            trusted_code=options.trust_code or (),
        )
        came_to_something = _show_results(out, config, outcome.sweep_id, preset_or_file)
        leave_report(out, config.storage, outcome.sweep_id)
    if outcome.out_of_budget:
        out.say(
            f"Budget reached: {outcome.out_of_budget}. With a larger one the same command resumes: {same_command()}"
        )
    elif not outcome.finished:
        out.say(f"Stopped. The same command resumes this sweep: {same_command()}")
        raise typer.Exit(INTERRUPTED)
    if not came_to_something:
        raise typer.Exit(1)


def _show_results(out: Output, config: SweepConfig, sweep_id: str, preset_or_file: str) -> bool:
    """Print the results of a session. Return False if trials ended and none of them has a result."""
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.analysis.leaderboard import read_leaderboard
    from orchestrator.commands.rerun import rerun_command
    from orchestrator.search.distinct import ended_of_all
    from orchestrator.storage import SweepStore, find_storage, shown
    from orchestrator.storage.layout import RESULTS

    sweep_store = SweepStore(find_storage(config.storage), sweep_id)
    board = read_leaderboard(sweep_store)
    if board.rows:
        out.table(results_table(board, sweep_store))
        out.say(f"{ended_of_all(board)} trials ended: {board.states_in_words}")
        if board.unknown:
            out.say(board.unknown)
    for error in board.errors():
        out.error(f"failed because of: {error}")
    command = None if board.sweep.cases else rerun_command(board, this_command(), preset_or_file)
    if command:
        out.say(f"Best setting again: {command}")
    if board.contenders:
        sure = f"{program('zskt')} confirm {sweep_id}{_storage_option(config)}"
        out.say(f"Is it really better? New seeds tell: {sure}")
    again = f"{program('zskt')} results {sweep_id}{_storage_option(config)}"
    where = shown(config.storage).rstrip("/")
    out.say(f"Results: {where}/{RESULTS}, shown by: {again}")
    return not board.rows or any(row.state.has_result for row in board.rows)


def _storage_option(config: SweepConfig) -> str:
    """Return the option by which a command finds the sweep's storage; empty for the default storage."""
    # Imported here, since --help needs no config and pydantic doubles its time.
    from orchestrator.config.blocks import StorageConfig

    uri = config.storage.uri
    return "" if uri == StorageConfig().uri else f" --storage {shlex.quote(uri)}"
