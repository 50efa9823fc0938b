"""Networks, settings and random streams that the parts of one data-free trial share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config.data_free.config import DataFreeConfig
from trainables.training.data_free.teacher import CountedTeacher
from trainables.training.data_free.views import Viewer
from trainables.training.matching import StudentMatching


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Objects that source, loss and handover of one trial share."""

    config: DataFreeConfig
    teacher: CountedTeacher
    """Teacher whose layers terms can watch, and which counts the images of its forward passes."""
    matching: StudentMatching
    """The student, its loss, the teacher that gives targets, and the trial's precision."""
    viewer: Viewer
    """Makes views of normalised images, and converts normalised images into pixels and back."""
    streams: Mapping[str, torch.Generator]
    """Random streams named ``latents``, ``noise``, ``wanted classes``, ``views`` and ``pool``, on the CPU."""
    seed: int
    """Seed of the source's weights, and of random streams that one part has for itself."""
    device: torch.device
    dtype: torch.dtype
    """Type of weights, images and losses."""

    def wanted_classes(self, count: int) -> Tensor:
        """Draw the wanted class of each image, (count,)."""
        draws = self.streams["wanted classes"]
        return torch.randint(self.config.spec.num_classes, (count,), generator=draws).to(self.device)
