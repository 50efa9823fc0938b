"""Commands about what lies on a storage: list and delete sweeps, export data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import DataRoot, Storage, Verbose, errors_as_messages, make_console, storage_config
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError, unknown_name
from trainables.config.datasets import dataset_names
from trainables.storage.addresses import expand_home, parse_address

dataset = typer.Typer(
    help="Data sets as Parquet files.", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


@dataset.command()
def export(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="A data set that this machine has or can fetch.")],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to: FOLDER/DATASET.parquet or s3://...")],
    data_root: DataRoot = None,
    verbose: Verbose = False,
) -> None:
    """Write a data set as one Parquet file. For `dataset: ADDRESS` in sweeps on nodes that have nothing else.

    Example: zskt dataset export cifar10 s3://bucket/prefix/cifar10.parquet
    """
    console = make_console()
    with errors_as_messages(verbose):
        if name not in dataset_names():
            raise ConfigError(unknown_name("data set", name, dataset_names()))
        file = parse_address(address)
        if file.name != f"{name}.parquet":
            raise ConfigError(f"{file.shown}: the file must be called {name}.parquet, after what it holds")
        from orchestrator.formatting import readable
        from orchestrator.storage import find_object
        from trainables.data.parquet import dataset_parquet
        from trainables.data.splits import load_dataset

        store, key = find_object(address)
        root = expand_home(data_root or SweepConfig.model_fields["data_root"].default)
        splits = load_dataset(name, data_root=root, validation_fraction=0)
        parts = {"train": splits.train, "test": splits.test}
        data = dataset_parquet({split: (part.images, part.labels) for split, part in parts.items()}, name=name)
        store.write(key, data)
        console.print(
            f"{store.shown(key)}: {len(splits.train)} training and {len(splits.test)} test images, {readable(len(data))}",
            highlight=False,
            soft_wrap=True,
        )


def sweeps(storage: Storage = None, verbose: Verbose = False) -> None:
    """List the sweeps of a storage, with state and size.

    Example: zskt sweeps --storage s3://bucket/prefix
    """
    from orchestrator.formatting import readable
    from orchestrator.results.inventory import take_inventory
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
    """Delete what a sweep has left; asks first. Results, study, checkpoints, students; teachers stay.

    Example: zskt delete quickstart-1a2b3c4d --storage ./runs
    """
    from orchestrator.formatting import readable
    from orchestrator.results.inventory import delete_sweep, find_sweep
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
