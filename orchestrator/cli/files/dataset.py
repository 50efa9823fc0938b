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
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A data set that this machine has or can fetch, or a folder or file of your own images.",
        ),
    ],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to: FOLDER/DATASET.parquet or s3://...")],
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Height and width that your own images are resized to. Default: theirs."),
    ] = None,
    data_root: DataRoot = None,
    verbose: Verbose = False,
) -> None:
    """Write a data set as one Parquet file. For `dataset: ADDRESS` in sweeps on nodes that have nothing else.

    Example: zskt dataset export cifar10 s3://bucket/prefix/cifar10.parquet
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # pydantic and the config take as long to load as all else that --help needs.
        from trainables.config.datasets import dataset_names, find_spec
        from trainables.config.own_images import file_of_images, has_name
        from trainables.storage.addresses import parse_address

        own = file_of_images(name)
        if own is None and not has_name(name):
            raise ConfigError(
                unknown_name("data set", name, dataset_names())
                + ", FILE.py:NAME, or a folder or file of your own images"
            )
        if own is None:
            try:
                find_spec(name)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        file, called = parse_address(address), f"{name.rpartition(':')[2]}.parquet"
        stem = file.name.removesuffix(".parquet")
        if own is None and file.name != called:
            raise ConfigError(f"{file.shown}: the file must be called {called}, after what it holds")
        if own is not None and stem == file.name:
            raise ConfigError(f"{file.shown}: expected a file ending in .parquet")
        if own is not None and stem in dataset_names():
            raise ConfigError(
                f"{file.shown}: {stem} is a named data set, and these are others; give the file another name"
            )
        # What is slow to load waits until the arguments are known to be right.
        from orchestrator.commands.export import exported
        from orchestrator.formatting import readable
        from orchestrator.storage import find_object

        store, key = find_object(address)
        copy = exported(name, own, stem, data_root=data_root, image_size=image_size)
        store.write(key, copy.data)
        for line in copy.notes:
            out.say(line)
        out.say(f"{store.shown(key)}: {copy.training} training and {copy.test} test images, {readable(len(copy.data))}")
