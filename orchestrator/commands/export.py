"""The work of ``zskt dataset export``: encode a data set as one Parquet file."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.inputs.files import fetch_dataset
from trainables.config.own_images import as_image_size
from trainables.images.load import load_dataset
from trainables.images.own import read_own_images
from trainables.images.parquet import dataset_parquet
from trainables.images.splits import ImageSet
from trainables.storage.addresses import expand_home, parse_address


@dataclass(frozen=True, kw_only=True)
class ExportedDataset:
    """A data set encoded as a Parquet file, with the number of images of its two splits."""

    data: bytes
    training: int
    test: int
    notes: tuple[str, ...] = ()
    """Lines about the user's own images and how they were converted; empty for a named data set."""


def exported(
    name: str, own: str | None, called: str, *, data_root: str | None, image_size: str | None
) -> ExportedDataset:
    """Read a data set and encode it as a Parquet file.

    Args:
        name: Name of the data set, or the address of the user's own images.
        own: Address of the user's own images. None for a named data set.
        called: Name of the data set in the file.
        data_root: Folder of named data sets. Defaults to that of a sweep.
        image_size: Size to which the user's own images are resized. None keeps their size.

    Raises:
        ConfigError: the size is not allowed, or given for a named data set.
        DataUnavailableError: the images do not exist or cannot be used.
    """
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    parts: dict[str, ImageSet]
    if own is None and image_size is not None:
        raise ConfigError("--image-size is for images of your own; a sweep resizes a named data set by itself")
    if own is None:
        root = expand_home(data_root or SweepConfig.model_fields["data_root"].default)
        splits = load_dataset(name, data_root=root, validation_fraction=0)
        parts = {"train": splits.train, "test": splits.test}
    else:
        try:
            size = as_image_size(image_size)
        except ValueError as error:
            raise ConfigError(f"--image-size: {error}") from error
        images = read_own_images(fetch_dataset(own), origin=parse_address(own).shown, image_size=size)
        parts = {"train": images.training, "test": images.test}
        notes, classes = tuple(images.in_words()), images.classes
    return ExportedDataset(
        data=dataset_parquet(
            {key: (part.images, part.labels) for key, part in parts.items()}, name=called, classes=classes
        ),
        training=len(parts["train"]),
        test=len(parts["test"]),
        notes=notes,
    )
