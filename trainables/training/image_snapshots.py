"""What a generator shows at a few points of its training: some images, and what teacher and student take many more for.

A snapshot follows from the networks and the trial's seed alone: taken again after an interruption it is the same. Its
latents come from a stream of their own and stay the same through a trial, so that its pictures can be compared. It leaves
no trace: the trial's bits are those that it would have without it.
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
"""How many a trial takes, at equal shares of its budget."""

_SHOWN = 8
_COUNTED = 512
"""Images whose classes are counted: a class of ten that a tenth of them show is seen by 51 of them, give or take 7."""

_RANGE = 2.5
"""Standard deviations of a pixel between black and white; the generator's last BatchNorm gives it one, around 0."""

_FIELDS = pa.schema(
    [
        pa.field("trial_id", pa.string()),
        pa.field("pseudo_batches", pa.int64(), metadata={"description": "When it was taken."}),
        pa.field("share", pa.float64(), metadata={"description": "The same as a share of the trial's budget."}),
        pa.field("png", pa.binary(), metadata={"description": "Eight pseudo images in two rows."}),
        pa.field("teacher_classes", pa.list_(pa.int64()), metadata={"description": "Of 512 images, by class."}),
        pa.field("student_classes", pa.list_(pa.int64()), metadata={"description": "The same of the student."}),
    ],
    metadata={"schema_version": "1"},
)


@dataclass(frozen=True, kw_only=True)
class ImageSnapshot:
    """What a generator showed at one moment of its training."""

    pseudo_batches: int
    share: float
    """Of the trial's budget, in (0, 1]."""

    png: bytes
    """Eight images in two rows, the first ones of those whose classes are counted."""

    teacher_classes: list[int]
    """How many images the teacher takes for each class, in eval mode."""

    student_classes: list[int]
    """The same of the student."""

    def to_parquet(self, trial_id: str) -> bytes:
        """A table of one row."""
        row = {name: [getattr(self, name)] for name in _FIELDS.names if name != "trial_id"}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"trial_id": [trial_id], **row}, schema=_FIELDS), sink)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def from_parquet(cls, data: bytes) -> ImageSnapshot:
        """What ``to_parquet`` wrote."""
        row = pq.read_table(pa.BufferReader(data)).to_pylist()[0]
        del row["trial_id"]
        return cls(**row)


def generated_images(generator: Generator) -> Callable[[int, torch.Generator], Tensor]:
    """Return what makes images with a generator, which stays as it is, for ``take_image_snapshot``."""

    def images(count: int, draws: torch.Generator) -> Tensor:
        weights = generator.linear.weight  # (features, latent_dim)
        latents = torch.randn(count, weights.shape[1], generator=draws, dtype=weights.dtype).to(weights.device)
        # A copy: with the statistics of its batch, as in training, it would otherwise move those that it keeps.
        made: Tensor = copy.deepcopy(generator)(latents)
        return made

    return images


def is_due(config: AnyTrialConfig, done: int) -> bool:
    """Whether the report after ``done`` is the first one at or behind a fifth of the budget."""
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
    """Return what a source of images shows now.

    Args:
        config: The trial's settings.
        images: Makes at most so many images from random numbers of a stream, normalised: (count, channels, height, width).
            It must leave no trace.
        teacher: Counts the classes of the images.
        student: Counts them likewise.
        done: How much of the budget is used, in the config's ``unit``.
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
    """A PNG of images (count, channels, height, width) in two rows, grey where they have one channel."""
    # By hand: torchvision, which could do it, would cost each process of a sweep more than a second at its start.
    pixels = ((images / _RANGE + 1) / 2).clamp(0, 1).mul(255).byte()
    framed = F.pad(pixels, (0, 1, 0, 1)).unflatten(0, (2, -1))
    grid = framed.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows x height, columns x width, channels)
    data = io.BytesIO()
    Image.fromarray(F.pad(grid, (0, 0, 1, 0, 1, 0)).squeeze(2).numpy()).save(data, format="PNG", optimize=True)
    return data.getvalue()


def _counted(logits: torch.Tensor) -> list[int]:
    counts: list[int] = logits.argmax(1).bincount(minlength=logits.shape[1]).tolist()
    return counts
