"""Data sets as tables: Parquet as ``zskt dataset export`` and the Hub's tools write it, and what ``datasets`` saves on disk.

A row is an image with its ``label``, and perhaps its ``split``. An image is a file of any kind (bytes, or a struct of bytes
and path), or lists of pixels. So a cluster's nodes need nothing installed beforehand, and anything that reads Parquet can
look at the images. What ``datasets`` saves is read without that package: it is Arrow.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from trainables.config.datasets import DatasetSpec, image_size_in_words
from trainables.errors import DataUnavailableError
from trainables.images.labelled import SPLITS, LabelledImage, LabelledImages
from trainables.images.pixels import decode, to_channels

if TYPE_CHECKING:
    from trainables.config.datasets import Split

_SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), metadata={"description": "The image as PNG, as large as the networks see it."}),
        pa.field("label", pa.int64(), metadata={"description": "Its class, from 0."}),
        pa.field("split", pa.string(), metadata={"description": "train or test."}),
    ]
)
_ROWS_PER_GROUP = 10_000
_COLUMNS = {"image": ("image", "img"), "label": ("label", "labels")}
_FEATURES = b"huggingface"
"""Key of the schema's metadata under which the Hub's tools say what columns mean."""

_EXPECTED = (
    "expected are image (PNG or JPEG bytes), label (from 0) and split (train or test), "
    "as zskt dataset export writes them"
)


def dataset_parquet(splits: Mapping[str, tuple[Tensor, Tensor]], *, name: str, classes: Sequence[str] = ()) -> bytes:
    """A data set as a Parquet file, images in their order.

    Args:
        splits: ``train`` and ``test``: uint8 images (count, channels, height, width) and labels (count,).
        name: The data set's.
        classes: Names of the classes, where they have some.
    """
    metadata = {"dataset": name}
    if classes:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": [*classes]}}
        metadata[_FEATURES.decode()] = json.dumps({"info": {"features": features}})
    parts = [
        pa.table(
            [_encoded(images), labels.numpy(), pa.array([split] * len(labels), pa.string())],
            schema=_SCHEMA.with_metadata(metadata),
        )
        for split, (images, labels) in splits.items()
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(parts), sink, row_group_size=_ROWS_PER_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_tables(path: Path, *, origin: str) -> LabelledImages:
    """Find the images of a Parquet file, of a folder of such files named by split, or of a folder that ``datasets`` saved.

    Args:
        path: The file or folder on this machine.
        origin: Where it comes from, for messages.

    Raises:
        DataUnavailableError: a file is damaged, a column is missing, or a row has no label, or one that is none.
    """
    images: list[LabelledImage] = []
    classes: tuple[str, ...] | None = None
    for file, split in _table_files(path):
        shown = origin if file == path else f"{origin}/{file.relative_to(path).as_posix()}"
        found = _images_of(_table(file, shown), shown, "" if file == path else f"{file.name} ", split)
        if images and found.classes != classes:
            raise DataUnavailableError(
                f"dataset {shown} has other names of classes than the files before it: {found.classes} and {classes}"
            )
        images += found.images
        classes = found.classes
    return LabelledImages(images=images, classes=classes)


def holds_tables(folder: Path) -> bool:
    """Whether a folder holds tables rather than images."""
    return folder.is_dir() and next(iter(_table_files(folder)), None) is not None


def read_dataset_parquet(path: Path, spec: DatasetSpec, *, origin: str) -> tuple[Split, Split]:
    """The training and the test split of a named data set's Parquet file.

    Args:
        path: The file on this machine.
        spec: What the data set must look like.
        origin: Where the file comes from, for messages.

    Returns:
        Images (count, height, width) or (count, height, width, 3), with or without the data set's padding, and labels.

    Raises:
        DataUnavailableError: it is damaged, or not such a data set.
    """
    found = read_tables(path, origin=origin).images
    by_split = {split: [image for image in found if image.split == split] for split in ("train", "validation", "test")}
    if None in {image.split for image in found}:
        raise DataUnavailableError(f"dataset {origin} has no column split; {_EXPECTED}")
    # The Hub has data sets whose only held-out part is called validation.
    training, test = by_split["train"], by_split["test"] or by_split["validation"]
    empty = [split for split, images in (("train", training), ("test", test)) if not images]
    if empty:
        raise DataUnavailableError(f"dataset {origin} has no rows with split={' or '.join(empty)}")
    return _arrays(training, spec, origin), _arrays(test, spec, origin)


def _arrays(images: Sequence[LabelledImage], spec: DatasetSpec, origin: str) -> Split:
    labels = [_number(image, spec.num_classes, origin) for image in images]
    bare = (spec.image_size[0] - 2 * spec.padding, spec.image_size[1] - 2 * spec.padding)
    pixels: list[npt.NDArray[np.uint8]] = []
    for image in images:
        flat = image.read()
        if isinstance(flat, np.ndarray) and flat.ndim == 1 and spec.channels == 1:
            size = next((size for size in (spec.image_size, bare) if size[0] * size[1] == len(flat)), (1, len(flat)))
            flat = flat.reshape(size)
        decoded = to_channels(decode(flat, f"dataset {origin}, {image.where}").image, spec.channels)
        if decoded.size[::-1] not in {spec.image_size, bare} or (pixels and pixels[0].shape[:2] != decoded.size[::-1]):
            expected = " or ".join(image_size_in_words(size) for size in dict.fromkeys((spec.image_size, bare)))
            raise DataUnavailableError(
                f"dataset {origin}, {image.where}: the image has {image_size_in_words(decoded.size[::-1])} pixels; expected "
                f"are {expected}, all alike"
            )
        pixels.append(np.asarray(decoded, dtype=np.uint8))
    return np.stack(pixels), np.asarray(labels, dtype=np.int64)


def _number(image: LabelledImage, num_classes: int, origin: str) -> int:
    """The label of a row of a named data set, whose classes have numbers and an order that everybody knows."""
    if isinstance(image.label, int) and 0 <= image.label < num_classes:
        return image.label
    raise DataUnavailableError(
        f"dataset {origin}, {image.where} has label {image.label!r}; expected are 0 to {num_classes - 1}"
    )


def _table_files(path: Path) -> Iterator[tuple[Path, str | None]]:
    """The files of a table, each with the split that its name or its folder's says."""
    if not path.is_dir():
        yield path, None
        return
    for state in sorted(path.glob("**/state.json")):  # of datasets.save_to_disk
        for name in _data_files(state):
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise DataUnavailableError(f"{state}: _data_files names {name!r}, which lies outside of its folder")
            yield state.parent / name, SPLITS.get(state.parent.name.lower())
    for file in sorted(path.glob("**/*.parquet")):
        words = [*re.split(r"[^a-z]+", file.stem.lower())[:1], file.parent.name.lower() if file.parent != path else ""]
        yield file, next((SPLITS[word] for word in words if word in SPLITS), None)


def _data_files(state: Path) -> list[str]:
    """The files that ``datasets`` says it saved beside it; none if that is another program's ``state.json``."""
    try:
        return [str(file["filename"]) for file in json.loads(state.read_bytes())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _table(file: Path, origin: str) -> pa.Table:
    try:
        if file.suffix == ".arrow":
            with pa.memory_map(str(file)) as source:
                return pa.ipc.open_stream(source).read_all()
        return pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        raise DataUnavailableError(
            f"dataset {origin} cannot be read as Parquet: {str(error).splitlines()[0]}"
        ) from error


def _images_of(table: pa.Table, origin: str, file: str, split: str | None) -> LabelledImages:
    """The rows of a table.

    Args:
        table: It.
        origin: Where it comes from, for messages.
        file: What goes before a row's number where there are several files.
        split: Of all rows that do not say it themselves.
    """
    features = _features(table.schema)
    image_column, label_column = (
        _column(table, features, "image", "Image"),
        _column(table, features, "label", "ClassLabel"),
    )
    missing = [name for name, column in (("image", image_column), ("label", label_column)) if column is None]
    if image_column is None or label_column is None:
        raise DataUnavailableError(f"dataset {origin} has no column {', '.join(missing)}; {_EXPECTED}")
    rows = [f"{file}row {row}" for row in range(len(table))]
    names = features.get(label_column, {}).get("names")
    labels = _labels(table[label_column].to_pylist(), names, origin, rows)
    splits = [split] * len(table)
    if "split" in table.schema.names:
        splits = [_split(value, origin, row) for value, row in zip(table["split"].to_pylist(), rows, strict=True)]
    cells = (cell for chunk in table[image_column].chunks for cell in chunk)
    images = [
        LabelledImage(where=row, split=its_split, label=label, read=partial(_content, cell, origin, row))
        for row, its_split, label, cell in zip(rows, splits, labels, cells, strict=True)
    ]
    return LabelledImages(images=images, classes=tuple(names) if names else None)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What the Hub's tools say of each column, where they wrote the table."""
    try:
        features = json.loads((schema.metadata or {}).get(_FEATURES, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _column(table: pa.Table, features: Mapping[str, Any], what: str, kind: str) -> str | None:
    """The column of that name, or else the only one of that kind."""
    named = [name for name in _COLUMNS[what] if name in table.schema.names]
    of_kind = [
        name for name, feature in features.items() if feature.get("_type") == kind and name in table.schema.names
    ]
    return named[0] if named else of_kind[0] if len(of_kind) == 1 else None


def _labels(
    values: Sequence[Any], names: Sequence[str] | None, origin: str, rows: Sequence[str]
) -> Sequence[int | str]:
    """Labels as the names of classes where all are among those; else as numbers, perhaps as text; else as other names."""
    for value, row in zip(values, rows, strict=True):
        if value is None or value == -1:
            raise DataUnavailableError(f"dataset {origin}, {row} has no label (it is {value}); leave such rows out")
    if names is not None and all(isinstance(value, str) and value in names for value in values):
        return [str(value) for value in values]
    try:
        numbers = [int(value) for value in values]
    except (ValueError, TypeError):
        numbers = []
    if numbers and all(float(value) == number for value, number in zip(values, numbers, strict=True)):
        return numbers
    for value, row in zip(values, rows, strict=True):
        if not isinstance(value, str) or (names is not None and value not in names):
            raise DataUnavailableError(
                f"dataset {origin}, {row} has label {value!r}; expected are whole numbers from 0, or names of classes"
            )
    return [str(value) for value in values]


def _split(value: Any, origin: str, row: str) -> str:
    name = SPLITS.get(value.lower()) if isinstance(value, str) else None
    if name is None:
        raise DataUnavailableError(
            f"dataset {origin}, {row} has split {value!r}; expected are train, validation and test"
        )
    return name


def _content(cell: pa.Scalar, origin: str, row: str) -> bytes | npt.NDArray[np.uint8]:
    """What a cell of the image column holds."""
    value = cell.as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value
    if value is None:
        raise DataUnavailableError(f"dataset {origin}, {row} has no image (it is null, or a path without bytes)")
    try:
        pixels = np.asarray(value)
    except ValueError:
        pixels = np.empty(0)
    if pixels.dtype.kind not in "iu" or not pixels.size or pixels.min() < 0 or pixels.max() > 255:
        raise DataUnavailableError(
            f"dataset {origin}, {row}: the image is neither bytes nor lists of whole numbers from 0 to 255, all as long"
        )
    return pixels.astype(np.uint8)


def _encoded(images: Tensor) -> pa.Array:
    """(count, channels, height, width) to PNGs."""
    files = []
    for image in images:
        file = io.BytesIO()
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(pixels.contiguous().numpy()).save(file, "PNG")
        files.append(file.getvalue())
    return pa.array(files, pa.binary())
