"""``zskt speedrun``: show the record tables, and make or verify rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    Cpus,
    DataRoot,
    Gpus,
    Storage,
    Verbose,
    check_output,
    errors_as_messages,
    stop_here,
    storage_config,
    with_resources,
)
from orchestrator.cli.sweep_options import BackendOptions, with_options
from orchestrator.output import standard_output

_VERIFY = "verify"


@with_options
def speedrun(
    *,
    track: Annotated[
        str | None,
        typer.Argument(metavar="[TRACK]", help="Name of a track, such as digits, or verify. Default: show all tables."),
    ] = None,
    row_file: Annotated[
        Path | None, typer.Argument(metavar="[ROW]", help="With verify: the file of the row to run again.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="PRESET_OR_FILE", help="A sweep with one recipe, to run. Default: the track's record."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds; a row needs at least 5 to count.")] = 5,
    first_seed: Annotated[
        int | None, typer.Option(min=0, help="First seed. Default: 0; with verify the row's own seeds.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="FILE", help="The track's teacher, if it does not come with the program.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the row.")] = "unnamed",
    by: Annotated[str, typer.Option(help="Author of the row.")] = "unknown",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write the row to.")] = None,
    storage: Storage = None,
    data_root: DataRoot = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    backend: BackendOptions,
    verbose: Verbose = False,
) -> None:
    """Show the records, run a recipe for a track, or verify a row.

    The exit code is 1 if the row does not count.

    Example: zskt speedrun digits
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.errors import ConfigError
        from orchestrator.speedrun.rows import read_row, records
        from orchestrator.speedrun.tables import Verification, tables_of, track_table
        from orchestrator.speedrun.tracks import find_track, tracks

        if track is None:
            for each, table in tables_of(list(tracks().values())):
                out.say(f"{each.name}: above {each.target:.2%} test accuracy. {each.description}")
                out.table(table)
                out.say("")
            out.say("zskt speedrun TRACK runs the record again; docs/speedrun.md has the rules.")
            return
        verifying = track == _VERIFY
        if verifying != (row_file is not None):
            raise ConfigError("expected zskt speedrun verify ROW with the file of a row, or a track without one")
        check_output(output)
        then = read_row(row_file) if row_file else None
        chosen = find_track(then.track if then else track)
        if then is None and recipe is None:
            known = records(chosen)
            if not known:
                raise ConfigError(f"track {chosen.name} has no record yet; give a recipe with --recipe PRESET_OR_FILE")
            then = known[0]

        # Imports torch and Optuna, which showing the tables does not need.
        from orchestrator.commands.speedrun import recipe_of, row_sweep, run_row

        fields = then.recipe if then else recipe_of(str(recipe))
        numbers = list(range(first_seed or 0, (first_seed or 0) + (len(then.runs) if then else seeds)))
        if then and first_seed is None:
            numbers = [run.seed for run in then.runs]
        changes = {"storage": storage_config(storage), **({} if data_root is None else {"data_root": data_root})}
        sweep = row_sweep(chosen, fields, numbers, teacher=chosen.teacher_path(teacher), changes=changes)
        done = run_row(
            with_resources(sweep, cpus, gpus),
            track=chosen,
            name=then.name if then else name,
            by=then.by if then else by,
            recipe=fields,
            anew=then is not None,
            backend=backend.choice,
            console=out.console,
        )
        row = done.row
        if row is not None:
            out.table(track_table(chosen, [row]))
            if output:
                output.write_text(row.to_yaml(), encoding="utf-8")
                out.say(f"Row: {output}")
            if then:
                out.say(Verification(row=then, again=row).conclusion())
        elif done.unsuccessful:
            raise ConfigError(f"no seed of the recipe completed: {done.unsuccessful}")
    if row is None:
        stop_here(out)
    counts = Verification(row=then, again=row).verified if then else row.judgement.counts
    if not counts:
        raise typer.Exit(1)
