"""Commands about what lies on a storage: list and delete sweeps."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli_shared import Storage, Verbose, errors_as_messages, make_console, storage_config


def sweeps(storage: Storage = None, verbose: Verbose = False) -> None:
    """List the sweeps of a storage, with state and size.

    Example: zskt sweeps --storage s3://bucket/prefix
    """
    from orchestrator.housekeeping import readable, take_inventory
    from orchestrator.storage import find_storage, shown

    console = make_console()
    with errors_as_messages(verbose):
        place = storage_config(storage)
        inventory = take_inventory(find_storage(place))
        if inventory.sweeps:
            console.print(inventory.table())
        total = sum(sweep.size for sweep in inventory.sweeps)
        console.print(
            f"{shown(place)}: {len(inventory.sweeps)} sweeps, {readable(total)}; teachers {readable(inventory.shared)}",
            highlight=False,
            soft_wrap=True,
        )


def delete(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    verbose: Verbose = False,
) -> None:
    """Delete all that a sweep has left: results, study, checkpoints, students. Teachers stay. Asks first.

    Example: zskt delete quickstart-1a2b3c4d --storage ./runs
    """
    from orchestrator.housekeeping import delete_sweep, find_sweep, readable
    from orchestrator.storage import find_storage, shown

    console = make_console()
    with errors_as_messages(verbose):
        place = storage_config(storage)
        store = find_storage(place)
        sweep = find_sweep(store, sweep_id)
        what = f"{len(sweep.objects)} objects ({readable(sweep.size)}) of {sweep_id} in {shown(place)}"
        if not yes and not typer.confirm(f"Delete {what}? There is no way back.", default=False):
            console.print("Nothing was deleted.", highlight=False)
            raise typer.Exit(1)
        delete_sweep(store, sweep)
        console.print(f"deleted {what}", highlight=False, soft_wrap=True)
