"""What the parts of one data-free trial share: its networks, how they compute, and what is drawn at random."""

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
    """What source, loss and handing over of one trial share."""

    config: DataFreeConfig
    teacher: CountedTeacher
    """Looks at images while terms watch, and counts all looks."""
    matching: StudentMatching
    """The student, its loss, the network that gives targets, and the trial's precision."""
    viewer: Viewer
    """Makes views of images, and pixels of normalised images."""
    streams: Mapping[str, torch.Generator]
    """Random numbers of ``latents``, ``noise``, ``wanted classes``, ``views`` and ``pool``, on the CPU."""
    seed: int
    """Of what makes the images, and of streams that a part has for itself."""
    device: torch.device
    dtype: torch.dtype
    """Of weights, images and losses."""

    def wanted_classes(self, count: int) -> Tensor:
        """Draw the classes that are wanted of images, (count,)."""
        draws = self.streams["wanted classes"]
        return torch.randint(self.config.spec.num_classes, (count,), generator=draws).to(self.device)
