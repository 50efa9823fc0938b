"""Images that belong to no named data set: a folder or file of the user's own, or no images at all. Imports no torch.

A config itself describes such images, so that it can be used where the images are not available. The description is read
from the images when a sweep begins (``trainables.images.own``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from trainables.config.datasets import (
    check_normalisation_name,
    dataset_names,
    find_spec,
    image_size_in_words,
    parse_image_size,
)
from trainables.config.plugins import checked
from trainables.storage.addresses import expand_home, parse_address
from trainables.system.own_files import file_of


def as_image_size(value: Any) -> Any:
    """Return an image size in its one spelling: ``28`` becomes ``28x28``."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value  # pydantic says what is allowed
    return image_size_in_words(parse_image_size(str(value)))


def _as_normalisation(value: Any) -> Any:
    """Return a normalisation in numbers in its one spelling: ``{mean: [0.5], std: [0.25]}`` becomes ``0.5:0.25``."""
    if not isinstance(value, Mapping) or value.keys() != {"mean", "std"}:
        return value  # pydantic says what is allowed
    parts = [part if isinstance(part, list | tuple) else [part] for part in (value["mean"], value["std"])]
    return ":".join(",".join(map(str, part)) for part in parts)


ImageSizeText = Annotated[str, BeforeValidator(as_image_size)]
NormalisationName = Annotated[str, BeforeValidator(_as_normalisation), checked(check_normalisation_name)]

NO_DATASET = "none"
"""Value of the field ``dataset`` if there are no images at all."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""File name endings of archives with folders of images."""

_FILES = (*ARCHIVES, ".parquet")
_SHAPES = ("num_classes", "channels", "image_size")
_READ = ("training_images", "test_images", "dataset_sha256")
IMAGE_FIELDS = {"dataset", "dataset_file", "normalisation", *_SHAPES, *_READ}
"""Fields of a trial that identify and describe its images."""


def file_of_images(dataset: str) -> str | None:
    """Return the value of ``dataset`` if it is the address of images, without a trailing slash; else None.

    An address is a local folder, or a file with the ending of an archive or a Parquet file, also the Parquet file of a named
    data set. Names are no addresses, nor are folders in a bucket.
    """
    if file_of(dataset):
        return None
    address, text = parse_address(dataset), dataset.rstrip("/")
    if address.name.endswith(_FILES):
        return dataset
    is_folder = address.is_local and text != "" and ("/" in dataset or expand_home(text).is_dir())
    return text if is_folder and dataset not in {*dataset_names(), NO_DATASET} else None


def has_name(dataset: object) -> bool:
    """Return whether a data set is a named one: this project's, an installed package's, or ``FILE.py:NAME``."""
    return isinstance(dataset, str) and (file_of(dataset) is not None or dataset in dataset_names())


def name_of_images(address: str) -> str:
    """Return the name for a data set of the user's own images: that of its folder or file, unlike any named data set."""
    file = parse_address(address).name
    stem = next((file.removesuffix(end) for end in _FILES if file.endswith(end)), file)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "images"
    return f"{name}-images" if name in {*dataset_names(), NO_DATASET} else name


def split_address(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the replaced fields ``dataset`` and ``dataset_file`` if ``dataset`` is an address or null; else no fields."""
    if "dataset" not in values:
        return {}
    dataset = values["dataset"]
    if dataset is None:
        return {"dataset": NO_DATASET}
    address = file_of_images(dataset) if isinstance(dataset, str) and not values.get("dataset_file") else None
    if address is None:
        return {}
    file = parse_address(address).name
    stem = file.removesuffix(".parquet")
    named = stem != file and stem in dataset_names()
    return {"dataset": stem if named else name_of_images(address), "dataset_file": address}


def unread_images(values: Mapping[str, Any]) -> str | None:
    """Return the address of a trial's own images if the trial does not describe these images yet; else None."""
    values = {**values, **split_address(values)}
    address = values.get("dataset_file")
    if not isinstance(address, str) or has_name(values.get("dataset")) or values.get("dataset") == NO_DATASET:
        return None
    return None if values.get("dataset_sha256") else address


def check_images(fields: Mapping[str, Any]) -> None:
    """Check that the data set is known, and that exactly the image fields are set that this kind of data set needs.

    Args:
        fields: The trial's ``IMAGE_FIELDS``.

    Raises:
        ValueError: the data set is unknown, or the message says which field is missing or must be left out.
        DatasetError: the package or file of the data set fails.
    """
    dataset, file = fields["dataset"], fields["dataset_file"]
    if dataset == NO_DATASET:
        _refuse(fields, ("dataset_file", *_READ), "dataset=none has no images")
        missing = _missing(fields, (*_SHAPES, "normalisation"))
        if missing:
            raise ValueError(
                "dataset=none: without images, num_classes, channels, image_size and normalisation of the teacher must be "
                f"given; missing: {missing}"
            )
    elif file is not None and not has_name(dataset):
        missing = _missing(fields, (*_SHAPES, *_READ))
        if missing:
            raise ValueError(
                f"dataset_file={parse_address(file).shown}: these images have not been read, so {missing} of "
                f"{dataset} are not known; orchestrator.config.loading.load_sweep reads them"
            )
        if fields["normalisation"] is None:
            raise ValueError(
                f"normalisation must be given where {dataset} are images of your own and a teacher comes from a file: half, "
                "unit, the name of a data set, or MEAN:STD such as 0.49,0.48,0.45:0.2,0.2,0.2"
            )
    else:
        find_spec(dataset)
        _refuse(fields, ("num_classes", "channels", *_READ), f"{dataset} is a named data set, which determines it")


def _missing(fields: Mapping[str, Any], wanted: tuple[str, ...]) -> str:
    return ", ".join(field for field in wanted if fields[field] is None)


def _refuse(fields: Mapping[str, Any], unwanted: tuple[str, ...], why: str) -> None:
    for field in unwanted:
        if fields[field] is not None:
            raise ValueError(f"{field}={fields[field]}: {why}; leave it out")
