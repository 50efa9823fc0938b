"""``zskt presets`` and ``zskt sweeps``: what can be run, and what has been."""

from __future__ import annotations

from orchestrator.cli.options import Storage, Verbose, errors_as_messages, storage_config
from orchestrator.output import standard_output


def presets() -> None:
    """List the presets.

    Example: zskt presets
    """
    # pydantic and the config take as long to load as all else that --help needs.
    from orchestrator.config.loading import load_sweep
    from search_spaces.presets import preset_names

    out = standard_output()
    for name in preset_names():
        out.say(f"{name}: {load_sweep(name).description}")


def sweeps(storage: Storage = None, verbose: Verbose = False) -> None:
    """List the sweeps of a storage, with state and size.

    Example: zskt sweeps --storage s3://bucket/prefix
    """
    # What is slow to load waits until the arguments are known to be right.
    from orchestrator.formatting import readable
    from orchestrator.results.inventory import take_inventory
    from orchestrator.storage import find_storage, shown

    out = standard_output()
    with errors_as_messages(verbose):
        place = storage_config(storage)
        inventory = take_inventory(find_storage(place))
        if inventory.sweeps:
            out.table(inventory.table())
        total = sum(sweep.size for sweep in inventory.sweeps)
        out.say(
            f"{shown(place)}: {len(inventory.sweeps)} sweeps, {readable(total)}; teachers {readable(inventory.shared)}"
        )
