"""``zskt dataset``: data sets as files that every node can read."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import DataRoot, Verbose, errors_as_messages
from orchestrator.errors import ConfigError, unknown_name
from orchestrator.output import standard_output

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
    out = standard_output()
    with errors_as_messages(verbose):
        # pydantic and the config take as long to load as all else that --help needs.
        from orchestrator.config import SweepConfig
        from trainables.config.datasets import check_dataset_name, dataset_names
        from trainables.storage.addresses import expand_home, parse_address

        if name not in dataset_names() and ".py:" not in name:
            raise ConfigError(unknown_name("data set", name, dataset_names()))
        try:
            check_dataset_name(name)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        file, called = parse_address(address), f"{name.rpartition(':')[2]}.parquet"
        if file.name != called:
            raise ConfigError(f"{file.shown}: the file must be called {called}, after what it holds")
        # What is slow to load waits until the arguments are known to be right.
        from orchestrator.formatting import readable
        from orchestrator.storage import find_object
        from trainables.images.load import load_dataset
        from trainables.images.parquet import dataset_parquet

        store, key = find_object(address)
        root = expand_home(data_root or SweepConfig.model_fields["data_root"].default)
        splits = load_dataset(name, data_root=root, validation_fraction=0)
        parts = {"train": splits.train, "test": splits.test}
        data = dataset_parquet({split: (part.images, part.labels) for split, part in parts.items()}, name=name)
        store.write(key, data)
        out.say(
            f"{store.shown(key)}: {len(splits.train)} training and {len(splits.test)} test images, {readable(len(data))}"
        )
