"""Image snapshots: a few pseudo images of a generator, and the classes that teacher and student predict for many more.

A snapshot depends only on the networks and the trial's seed, so a snapshot taken again after an interruption is the same.
Its latents come from a random stream of their own and stay the same throughout a trial, so that the pictures can be
compared. Taking a snapshot changes nothing in the trial, whose numbers are bit for bit those without snapshots.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from trainables.config import AnyTrialConfig
from trainables.networks import Network, in_eval_mode
from trainables.networks.generator import Generator
from trainables.seeding import seeded, stream

SNAPSHOTS = 5
"""Number of snapshots in a trial, at equal shares of its budget."""

_SHOWN = 8
_COUNTED = 512
"""Images whose classes are counted. A class that a tenth of the images belong to is counted 51 times, give or take 7."""

_RANGE = 2.5
"""Standard deviations from grey to black or white; the generator's last BatchNorm gives a pixel mean 0 and deviation 1."""

_FIELDS = pa.schema(
    [
        pa.field("trial_id", pa.string()),
        pa.field("pseudo_batches", pa.int64(), metadata={"description": "Pseudo batches done at the snapshot."}),
        pa.field("share", pa.float64(), metadata={"description": "Share of the trial's budget done at the snapshot."}),
        pa.field("png", pa.binary(), metadata={"description": "Eight pseudo images in two rows."}),
        pa.field("teacher_classes", pa.list_(pa.int64()), metadata={"description": "Teacher's predictions, by class."}),
        pa.field("student_classes", pa.list_(pa.int64()), metadata={"description": "Student's predictions, by class."}),
    ],
    metadata={"schema_version": "1"},
)


@dataclass(frozen=True, kw_only=True)
class ImageSnapshot:
    """Pseudo images at one moment of a trial, and how often teacher and student predict each class."""

    pseudo_batches: int
    share: float
    """Share of the trial's budget that is done, in (0, 1]."""

    png: bytes
    """The first eight of the images whose classes are counted, in two rows."""

    teacher_classes: list[int]
    """Number of images for which the teacher predicts each class, in eval mode."""

    student_classes: list[int]
    """Number of images for which the student predicts each class, in eval mode."""

    def to_parquet(self, trial_id: str) -> bytes:
        """Return the snapshot as a Parquet file of one row."""
        row = {name: [getattr(self, name)] for name in _FIELDS.names if name != "trial_id"}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"trial_id": [trial_id], **row}, schema=_FIELDS), sink)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def from_parquet(cls, data: bytes) -> ImageSnapshot:
        """Read the Parquet file that ``to_parquet`` wrote."""
        row = pq.read_table(pa.BufferReader(data)).to_pylist()[0]
        del row["trial_id"]
        return cls(**row)


def generated_images(generator: Generator) -> Callable[[int, torch.Generator], Tensor]:
    """Return a source of images for ``take_image_snapshot`` that leaves the generator unchanged."""

    def images(count: int, draws: torch.Generator) -> Tensor:
        weights = generator.linear.weight  # (features, latent_dim)
        latents = torch.randn(count, weights.shape[1], generator=draws, dtype=weights.dtype).to(weights.device)
        # A copy, since a forward pass in train mode updates the running statistics.
        made: Tensor = copy.deepcopy(generator)(latents)
        return made

    return images


def is_due(config: AnyTrialConfig, done: int) -> bool:
    """Return whether the report at ``done`` is the first report at or after a multiple of a fifth of the budget."""
    before = (done - 1) // config.report_interval * config.report_interval
    return SNAPSHOTS * done // config.budget > SNAPSHOTS * before // config.budget


def take_image_snapshot(
    config: AnyTrialConfig,
    *,
    images: Callable[[int, torch.Generator], Tensor],
    teacher: Network,
    student: Network,
    done: int,
) -> ImageSnapshot:
    """Take a snapshot of the images that a source makes now.

    Args:
        config: The trial's settings.
        images: Function of a count and a random stream that returns at most ``count`` normalised images (count, channels,
            height, width). The function must change nothing in the trial.
        teacher: Teacher whose predictions are counted.
        student: Student whose predictions are counted.
        done: Part of the budget that is used, in the config's ``unit``.
    """
    device = next(student.parameters()).device
    with seeded(config.seed, "snapshot", device), torch.no_grad(), in_eval_mode(teacher, student):
        shown = images(_COUNTED, stream(config.seed, "snapshots"))
        seen_by_teacher, seen_by_student = (network(shown)[0] for network in (teacher, student))
    return ImageSnapshot(
        pseudo_batches=done,
        share=done / config.budget,
        png=_picture(shown[: min(_SHOWN, len(shown) // 2 * 2)].float().cpu()),
        teacher_classes=_counted(seen_by_teacher),
        student_classes=_counted(seen_by_student),
    )


def _picture(images: torch.Tensor) -> bytes:
    """Return a PNG of images (count, channels, height, width) in two rows, in greyscale if there is one channel."""
    # Without torchvision, whose import would cost each process of a sweep more than a second.
    pixels = ((images / _RANGE + 1) / 2).clamp(0, 1).mul(255).byte()
    framed = F.pad(pixels, (0, 1, 0, 1)).unflatten(0, (2, -1))
    grid = framed.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows x height, columns x width, channels)
    data = io.BytesIO()
    Image.fromarray(F.pad(grid, (0, 0, 1, 0, 1, 0)).squeeze(2).numpy()).save(data, format="PNG", optimize=True)
    return data.getvalue()


def _counted(logits: torch.Tensor) -> list[int]:
    counts: list[int] = logits.argmax(1).bincount(minlength=logits.shape[1]).tolist()
    return counts
