"""What ``zskt dataset export`` does: any data set as one Parquet file."""

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
    """A data set as a file, and what is in it."""

    data: bytes
    training: int
    test: int
    notes: tuple[str, ...] = ()
    """What was done to the images."""


def exported(
    name: str, own: str | None, called: str, *, data_root: str | None, image_size: str | None
) -> ExportedDataset:
    """Read a data set and encode it.

    Args:
        name: The data set's, or the address of images of one's own.
        own: That address; none: it is a named data set.
        called: What it is called in the file.
        data_root: Where named ones are looked for; none: the default.
        image_size: To which images of one's own are resized; none: theirs.

    Raises:
        ConfigError: a size that cannot be had.
        DataUnavailableError: the images are not there, or cannot be used.
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
