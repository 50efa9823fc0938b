"""Data sets as tables: Parquet files of ``zskt dataset export`` or the Hugging Face Hub, and folders saved by ``datasets``.

A row has an ``image``, its ``label``, and optionally its ``split``. The image is the content of an image file (bytes, or a
struct of bytes and path), or nested lists of pixels. A cluster's nodes therefore need no data set installed, and any program
that reads Parquet can show the images. Folders saved by ``datasets`` contain Arrow files and are read without that package.
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
"""Key of the schema's metadata under which the Hub's tools describe the columns."""

_EXPECTED = (
    "expected are image (PNG or JPEG bytes), label (from 0) and split (train or test), "
    "as zskt dataset export writes them"
)


def dataset_parquet(splits: Mapping[str, tuple[Tensor, Tensor]], *, name: str, classes: Sequence[str] = ()) -> bytes:
    """Return a data set as the content of a Parquet file, with the images in the given order.

    Args:
        splits: Splits ``train`` and ``test``: uint8 images (count, channels, height, width) and labels (count,).
        name: Name of the data set.
        classes: Names of the classes; empty if the classes have only numbers.
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
    """Find the images of a Parquet file, of a folder of such files named by split, or of a folder saved by ``datasets``.

    Args:
        path: File or folder on this machine.
        origin: Address that the data set comes from, for messages.

    Raises:
        DataUnavailableError: a file is damaged, a column is missing, a row has no valid label or split, or files have
            different names of classes.
    """
    images: list[LabelledImage] = []
    classes: tuple[str, ...] | None = None
    for file, split in _table_files(path):
        shown = origin if file == path else f"{origin}/{file.relative_to(path).as_posix()}"
        found = _images_of(_table(file, shown), shown, "" if file == path else f"{file.name} ", split)
        if images and found.classes != classes:
            raise DataUnavailableError(
                f"dataset {shown} has other names of classes than the preceding files: {found.classes} and {classes}"
            )
        images += found.images
        classes = found.classes
    return LabelledImages(images=images, classes=classes)


def holds_tables(folder: Path) -> bool:
    """Return whether a path is a folder that contains tables."""
    return folder.is_dir() and next(iter(_table_files(folder)), None) is not None


def read_dataset_parquet(path: Path, spec: DatasetSpec, *, origin: str) -> tuple[Split, Split]:
    """Read the training and the test split from a named data set's Parquet file.

    Args:
        path: File on this machine.
        spec: Description of the data set, which the file must agree with.
        origin: Address that the file comes from, for messages.

    Returns:
        For each split, images (count, height, width) or (count, height, width, 3), with or without the data set's padding,
        and labels (count,).

    Raises:
        DataUnavailableError: the file is damaged, or does not agree with the spec.
    """
    found = read_tables(path, origin=origin).images
    by_split = {split: [image for image in found if image.split == split] for split in ("train", "validation", "test")}
    if None in {image.split for image in found}:
        raise DataUnavailableError(f"dataset {origin} has no column split; {_EXPECTED}")
    # On the Hub, some data sets call their only held-out split validation.
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
                f"are {expected}, equal for all images"
            )
        pixels.append(np.asarray(decoded, dtype=np.uint8))
    return np.stack(pixels), np.asarray(labels, dtype=np.int64)


def _number(image: LabelledImage, num_classes: int, origin: str) -> int:
    """Return a row's label in a named data set, where it must be the number of a class, since class numbers are fixed.

    Raises:
        DataUnavailableError: the label is no number of a class.
    """
    if isinstance(image.label, int) and 0 <= image.label < num_classes:
        return image.label
    raise DataUnavailableError(
        f"dataset {origin}, {image.where} has label {image.label!r}; expected are 0 to {num_classes - 1}"
    )


def _table_files(path: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield the files of a data set, each with the split that the name of the file or its folder gives; else None."""
    if not path.is_dir():
        yield path, None
        return
    for state in sorted(path.glob("**/state.json")):  # written by datasets.save_to_disk
        for name in _data_files(state):
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                raise DataUnavailableError(f"{state}: _data_files names {name!r}, which lies outside of its folder")
            yield state.parent / name, SPLITS.get(state.parent.name.lower())
    for file in sorted(path.glob("**/*.parquet")):
        words = [*re.split(r"[^a-z]+", file.stem.lower())[:1], file.parent.name.lower() if file.parent != path else ""]
        yield file, next((SPLITS[word] for word in words if word in SPLITS), None)


def _data_files(state: Path) -> list[str]:
    """Return the data files that a ``state.json`` of ``datasets`` lists; empty if another program wrote the file."""
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
    """Return the images of a table's rows.

    Args:
        table: Table with a column of images and a column of labels.
        origin: Address that the table comes from, for messages.
        file: Prefix of a row's number in messages, if there are several files; else empty.
        split: Split of all rows, if the table has no column ``split``.

    Raises:
        DataUnavailableError: a column is missing, or a label or split is not valid.
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
    """Return the description of each column by the Hub's tools; empty if other tools wrote the table."""
    try:
        features = json.loads((schema.metadata or {}).get(_FEATURES, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _column(table: pa.Table, features: Mapping[str, Any], what: str, kind: str) -> str | None:
    """Return the column with one of the usual names for images or labels, else the only column of the right kind.

    Args:
        table: Table to search.
        features: Result of ``_features``.
        what: Key in ``_COLUMNS``.
        kind: Type of the column in ``features``.
    """
    named = [name for name in _COLUMNS[what] if name in table.schema.names]
    of_kind = [
        name for name, feature in features.items() if feature.get("_type") == kind and name in table.schema.names
    ]
    return named[0] if named else of_kind[0] if len(of_kind) == 1 else None


def _labels(
    values: Sequence[Any], names: Sequence[str] | None, origin: str, rows: Sequence[str]
) -> Sequence[int | str]:
    """Return labels as given names of classes if all are; else as whole numbers if all are (also as text); else as names.

    Raises:
        DataUnavailableError: a row has no label (null or -1), or one that is neither a whole number nor a known name.
    """
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
    """Return the content of a cell of the image column: bytes of an image file, or pixels.

    Raises:
        DataUnavailableError: the cell is empty, or contains neither bytes nor pixels.
    """
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
            f"dataset {origin}, {row}: the image is neither bytes nor lists (of equal length) of whole numbers from 0 to 255"
        )
    return pixels.astype(np.uint8)


def _encoded(images: Tensor) -> pa.Array:
    """Return images (count, channels, height, width) as an array of PNG files."""
    files = []
    for image in images:
        file = io.BytesIO()
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(pixels.contiguous().numpy()).save(file, "PNG")
        files.append(file.getvalue())
    return pa.array(files, pa.binary())
