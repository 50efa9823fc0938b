"""A data set as one Parquet file: ``image`` (PNG, as in the file of any picture), ``label`` and ``split``.

So a cluster's nodes need nothing installed beforehand, and anything that reads Parquet can look at the images.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from trainables.config.datasets import DatasetSpec, image_size_in_words
from trainables.errors import DataUnavailableError

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


def dataset_parquet(splits: Mapping[str, tuple[Tensor, Tensor]], *, name: str) -> bytes:
    """A data set as a Parquet file, images in their order.

    Args:
        splits: ``train`` and ``test``: uint8 images (count, channels, height, width) and labels (count,).
        name: The data set's.
    """
    parts = [
        pa.table(
            [_encoded(images), labels.numpy(), pa.array([split] * len(labels), pa.string())],
            schema=_SCHEMA.with_metadata({"dataset": name}),
        )
        for split, (images, labels) in splits.items()
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(parts), sink, row_group_size=_ROWS_PER_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_dataset_parquet(path: Path, spec: DatasetSpec, *, origin: str) -> tuple[Split, Split]:
    """The training and the test split of a Parquet file.

    Args:
        path: The file on this machine.
        spec: What the data set must look like.
        origin: Where the file comes from, for messages.

    Raises:
        DataUnavailableError: it is damaged, or not such a data set.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataUnavailableError(
            f"dataset {origin} cannot be read as Parquet: {str(error).splitlines()[0]}"
        ) from error
    missing = [name for name in _SCHEMA.names if name not in table.schema.names]
    if missing:
        raise DataUnavailableError(
            f"dataset {origin} has no column {', '.join(missing)}; expected are image (PNG or JPEG bytes), label (from 0) "
            "and split (train or test), as zskt dataset export writes them"
        )
    splits: dict[str, pa.Table] = {split: table.filter(pc.equal(table["split"], split)) for split in ("train", "test")}
    empty = [split for split, rows in splits.items() if len(rows) == 0]
    if empty:
        raise DataUnavailableError(f"dataset {origin} has no rows with split={' or '.join(empty)}")
    return _arrays(splits["train"], spec, origin), _arrays(splits["test"], spec, origin)


def _arrays(rows: pa.Table, spec: DatasetSpec, origin: str) -> Split:
    labels = np.asarray(rows["label"].combine_chunks(), dtype=np.int64)
    if labels.min() < 0 or labels.max() >= spec.num_classes:
        raise DataUnavailableError(
            f"dataset {origin} has labels from {labels.min()} to {labels.max()}; expected are 0 to {spec.num_classes - 1}"
        )
    return np.stack([_decoded(value.as_py(), spec, origin) for value in rows["image"]]), labels.copy()


def _encoded(images: Tensor) -> pa.Array:
    """(count, channels, height, width) to PNGs."""
    files = []
    for image in images:
        file = io.BytesIO()
        pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        Image.fromarray(pixels.contiguous().numpy()).save(file, "PNG")
        files.append(file.getvalue())
    return pa.array(files, pa.binary())


def _decoded(file: bytes, spec: DatasetSpec, origin: str) -> npt.NDArray[np.uint8]:
    """An image file to (height, width) or (height, width, 3)."""
    try:
        image = Image.open(io.BytesIO(file)).convert("L" if spec.channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataUnavailableError(f"dataset {origin} has an image that is neither PNG nor JPEG: {error}") from error
    if image.size != spec.image_size[::-1]:
        expected = image_size_in_words(spec.image_size)
        raise DataUnavailableError(f"dataset {origin} has an image of {image.size}; expected are {expected} pixels")
    return np.asarray(image, dtype=np.uint8)
