"""``zskt delete``: delete a sweep from its storage."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Storage, Verbose, errors_as_messages, storage_config
from orchestrator.output import standard_output


def delete(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="Id of the sweep.")],
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    verbose: Verbose = False,
) -> None:
    """Delete a sweep from its storage, after asking.

    Results, study, checkpoints and students are deleted. Teachers stay, since other sweeps may share them.

    Example: zskt delete quickstart-1a2b3c4d --storage ./runs
    """
    # Imported here, so that a wrong argument is reported before these slow imports.
    from orchestrator.formatting import readable
    from orchestrator.results.inventory import delete_sweep, find_sweep
    from orchestrator.storage import SweepStore, find_storage, shown

    out = standard_output()
    with errors_as_messages(verbose):
        place = storage_config(storage)
        store = find_storage(place)
        sweep = find_sweep(SweepStore(store, sweep_id))
        what = f"{len(sweep.objects)} objects ({readable(sweep.size)}) of {sweep_id} in {shown(place)}"
        if not yes and not typer.confirm(f"Delete {what}? This cannot be undone.", default=False):
            out.say("Nothing was deleted.")
            raise typer.Exit(1)
        delete_sweep(store, sweep)
        out.say(f"deleted {what}")
