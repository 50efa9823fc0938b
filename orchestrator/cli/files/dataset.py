"""``zskt dataset``: write data sets as files that every node can read."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import DataRoot, Verbose, errors_as_messages
from orchestrator.errors import ConfigError, unknown_name
from orchestrator.output import standard_output

dataset = typer.Typer(
    help="Write data sets as Parquet files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@dataset.command()
def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Name of a data set, or a folder or file of your own images.",
        ),
    ],
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="File to write: FOLDER/DATASET.parquet or s3://...")
    ],
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Resize your own images to this size, 28 or 48x40. Default: their size."),
    ] = None,
    data_root: DataRoot = None,
    verbose: Verbose = False,
) -> None:
    """Write a data set as one Parquet file.

    Sweeps with `dataset: ADDRESS` then read it on every node, which needs no other copy of the images.

    Example: zskt dataset export cifar10 s3://bucket/prefix/cifar10.parquet
    """
    out = standard_output()
    with errors_as_messages(verbose):
        # Imported here, since --help needs no config and pydantic doubles its time.
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
            raise ConfigError(f"{file.shown}: the file must be named {called}, after its data set")
        if own is not None and stem == file.name:
            raise ConfigError(f"{file.shown}: expected a file ending in .parquet")
        if own is not None and stem in dataset_names():
            raise ConfigError(f"{file.shown}: {stem} is the name of another data set; give the file another name")
        # Imported here, so that a wrong argument is reported before these slow imports.
        from orchestrator.commands.export import exported
        from orchestrator.formatting import readable
        from orchestrator.storage import find_object

        store, key = find_object(address)
        copy = exported(name, own, stem, data_root=data_root, image_size=image_size)
        store.write(key, copy.data)
        for line in copy.notes:
            out.say(line)
        out.say(f"{store.shown(key)}: {copy.training} training and {copy.test} test images, {readable(len(copy.data))}")
