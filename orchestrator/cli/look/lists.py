"""``zskt presets`` and ``zskt sweeps``: list the presets, and the sweeps on a storage."""

from __future__ import annotations

from orchestrator.cli.options import Storage, Verbose, errors_as_messages, storage_config
from orchestrator.output import standard_output


def presets() -> None:
    """List the presets: sweeps that come with the program.

    Example: zskt presets
    """
    # Imported here, since --help needs no config and pydantic doubles its time.
    from orchestrator.config.sweep_files import read_sweep_file
    from search_spaces.presets import preset_names

    out = standard_output()
    for name in preset_names():
        _, content = read_sweep_file(name)  # without its trials, whose checks may load torch
        out.say(f"{name}: {content['description']}")


def sweeps(storage: Storage = None, verbose: Verbose = False) -> None:
    """List the sweeps on a storage, with state and size.

    Example: zskt sweeps --storage s3://bucket/prefix
    """
    # Imported here, so that a wrong argument is reported before these slow imports.
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
