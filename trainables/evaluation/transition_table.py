"""Transition curves as tensors and as a table; ``trainables.evaluation.transition`` measures them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

TargetRule = Literal["label", "prediction"]
"""Class to which an image is not pushed: its true label, as in the published code, or the class that both networks predict,
as in the paper's Algorithm 2. The two rules differ for images that both networks misclassify."""

_SCHEMA_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class TransitionCurves:
    """Transition curves of ``n`` images with ``classes - 1`` targets each, on the CPU.

    The point ``[:, :, 0]`` of a curve belongs to the clean image, ``[:, :, k]`` to the image after ``k`` steps.
    """

    image_indices: Tensor
    """Indices of the images in the data, int64 (n,), in the order in which they were chosen."""

    labels: Tensor
    """True labels of the images, int64 (n,)."""

    targets: Tensor
    """Classes to which the images were pushed, int64 (n, classes - 1), ascending from the excluded class, modulo classes."""

    attacked: Tensor
    """Probability of the target in the network whose gradient was used: float32 (n, classes - 1, steps)."""

    other: Tensor
    """Probability of the target in the other network: float32 (n, classes - 1, steps)."""

    step_size: float
    """Factor of the gradient, in normalised pixels."""

    target_rule: TargetRule
    """Rule by which one class of each image was excluded."""

    seed: int
    """Seed of the order in which images were tried."""

    @property
    def steps(self) -> int:
        """Number of recorded points. The last point is ``steps - 1`` steps from the clean image."""
        return self.attacked.shape[2]

    def to_table(self) -> pa.Table:
        """Return a table with one row for each image and target, and the settings in the schema's metadata."""
        targets_each = self.targets.shape[1]
        columns = {
            "image_index": self.image_indices.repeat_interleave(targets_each).numpy(),
            "label": self.labels.repeat_interleave(targets_each).numpy(),
            "target": self.targets.flatten().numpy(),
            "attacked": _lists(self.attacked),
            "other": _lists(self.other),
        }
        settings = {
            "schema_version": _SCHEMA_VERSION,
            "steps": str(self.steps),
            "step_size": repr(self.step_size),
            "target_rule": self.target_rule,
            "seed": str(self.seed),
        }
        return pa.table(columns, schema=pa.schema(_FIELDS, metadata=settings))

    @classmethod
    def from_table(cls, table: pa.Table) -> TransitionCurves:
        """Return the transition curves of a table that ``to_table`` made.

        Raises:
            ValueError: the table has other columns or types, lacks settings, or its rows are in another order.
        """
        names = [field.name for field in _FIELDS]
        if table.column_names != names:
            raise ValueError(f"columns {', '.join(table.column_names)}; allowed: {', '.join(names)}")
        steps, step_size, target_rule, seed = _settings(table.schema.metadata or {})
        table = table.cast(pa.schema(_FIELDS))  # Parquet and data frames have list types of their own
        indices, labels, targets = (_tensor(table[name]) for name in ("image_index", "label", "target"))
        images = len(indices.unique())
        grouped = images > 0 and len(indices) % images == 0
        if not grouped or (indices.view(images, -1) != indices.view(images, -1)[:, :1]).any():
            raise ValueError(f"{len(indices)} rows of {images} images; allowed: equally many for each image, together")
        attacked, other = (table[name].combine_chunks() for name in ("attacked", "other"))
        for curves in (attacked, other):
            if set(curves.value_lengths().to_pylist()) != {steps}:
                raise ValueError(
                    f"curves of other lengths than the steps={steps} of the metadata; allowed: that length"
                )
        return cls(
            image_indices=indices.view(images, -1)[:, 0].clone(),
            labels=labels.view(images, -1)[:, 0].clone(),
            targets=targets.view(images, -1),
            attacked=_tensor(attacked.flatten()).view(images, -1, steps),
            other=_tensor(other.flatten()).view(images, -1, steps),
            step_size=step_size,
            target_rule=target_rule,
            seed=seed,
        )


_FIELDS = [
    pa.field(name, kind, metadata={"description": description, "unit": unit} if unit else {"description": description})
    for name, kind, description, unit in (
        ("image_index", pa.int64(), "Index of the image in the data.", ""),
        ("label", pa.int64(), "True label of the image.", ""),
        ("target", pa.int64(), "Class to which the image was pushed.", ""),
        (
            "attacked",
            pa.list_(pa.float32()),
            "Probability of the target, from the clean image on, in the network whose gradient moved the image.",
            "share in [0, 1]",
        ),
        (
            "other",
            pa.list_(pa.float32()),
            "Probability of the target, from the clean image on, in the other network.",
            "share in [0, 1]",
        ),
    )
]


def _lists(curves: Tensor) -> pa.Array:
    """Return curves (n, targets, steps) as n * targets lists."""
    images, targets, steps = curves.shape
    ends = np.arange(images * targets + 1, dtype=np.int32) * steps
    return pa.ListArray.from_arrays(ends, curves.flatten().numpy())


def _tensor(column: pa.Array) -> Tensor:
    return torch.from_numpy(np.array(column.to_numpy()))  # a copy: Arrow's memory is read-only


def _settings(metadata: Mapping[bytes, bytes]) -> tuple[int, float, TargetRule, int]:
    words = {key.decode(): value.decode() for key, value in metadata.items()}
    if words.get("schema_version") != _SCHEMA_VERSION:
        version = words.get("schema_version")
        raise ValueError(f"transition curves with schema_version {version}; allowed: {_SCHEMA_VERSION}")
    try:
        return (
            int(words["steps"]),
            float(words["step_size"]),
            cast(TargetRule, words["target_rule"]),
            int(words["seed"]),
        )
    except KeyError as error:
        raise ValueError(f"a table of transition curves without the setting {error} in its metadata") from error
