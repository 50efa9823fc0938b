"""Data sets as uint8 tensors, with their splits. Students never see any of it in training; they are only measured on it.

The training split gives two disjoint parts: ``train``, which teachers learn from, and ``validation``, which a study
selects on. The official test split is ``test``, an audit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.config.datasets import DatasetSpec, Normalisation


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images: uint8 (count, channels, height, width) and int64 (count,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices: Tensor) -> ImageSet:
        """The images at ``indices``, in that order."""
        return ImageSet(images=self.images[indices], labels=self.labels[indices])


class UnreadImages(ImageSet):
    """The images of a trial that does without: there are none, and asking for one is an error of this program."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 0  # by which whoever measures students knows that there is nothing to measure them on

    def to(self, device: torch.device | str) -> UnreadImages:
        return self

    def subset(self, indices: Tensor) -> UnreadImages:
        return self

    @property
    def images(self) -> Tensor:
        raise AssertionError("a trial that reads no real image has asked for one")

    @property
    def labels(self) -> Tensor:
        raise AssertionError("a trial that reads no label has asked for one")


@dataclass(frozen=True, kw_only=True)
class DatasetSplits:
    """One data set, split."""

    spec: DatasetSpec
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    sha256: str | None = None
    """Checksum of the user's own images, where these are some and whoever read them says it."""

    def measured_on(self, device: torch.device | str) -> DatasetSplits:
        """The same splits with the images that students are measured on moved to ``device``."""
        return replace(self, validation=self.validation.to(device), test=self.test.to(device))

    @classmethod
    def without_images(cls, spec: DatasetSpec) -> DatasetSplits:
        """What a trial is given that reads no real image: reading one all the same is an error."""
        none = UnreadImages()
        return cls(spec=spec, train=none, validation=none, test=none)

    def without_training_images(self) -> DatasetSplits:
        """What a zero-shot trial is given: images to be measured on."""
        return replace(self, train=self.train.subset(torch.arange(0)))


def normalise(images: Tensor, normalisation: Normalisation, dtype: torch.dtype = torch.float32) -> Tensor:
    """``(pixel / 255 - mean) / std`` of uint8 images (batch, channels, height, width), on their device."""
    mean = torch.tensor(normalisation.mean, dtype=dtype, device=images.device).view(-1, 1, 1)
    std = torch.tensor(normalisation.std, dtype=dtype, device=images.device).view(-1, 1, 1)
    return (images.to(dtype) / 255 - mean) / std
