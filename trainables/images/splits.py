"""Data sets as uint8 tensors, with their splits. Students of data-free methods are only measured on these images.

The official training split has two disjoint parts: ``train``, on which teachers are trained, and ``validation``, on which
sweeps select trials. The official test split is ``test``, an audit: never selected on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainables.config.datasets import DatasetSpec, Normalisation


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images: ``images`` uint8 (count, channels, height, width), ``labels`` int64 (count,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """Return these images and labels on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices: Tensor) -> ImageSet:
        """Return the images and labels at the given indices, in the order of the indices."""
        return ImageSet(images=self.images[indices], labels=self.labels[indices])


class UnreadImages(ImageSet):
    """Placeholder for trials that must not read images: its length is 0, and any access raises AssertionError."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 0  # tells callers that there are no images to measure a student on

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
    """Data set with its three splits."""

    spec: DatasetSpec
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    sha256: str | None = None
    """SHA-256 checksum of the user's own images. None for other data sets, or if the checksum was not recorded."""

    def measured_on(self, device: torch.device | str) -> DatasetSplits:
        """Return the splits with the images that students are measured on, validation and test, moved to a device."""
        return replace(self, validation=self.validation.to(device), test=self.test.to(device))

    @classmethod
    def without_images(cls, spec: DatasetSpec) -> DatasetSplits:
        """Return splits for a trial that must not read real images: accessing an image raises AssertionError."""
        none = UnreadImages()
        return cls(spec=spec, train=none, validation=none, test=none)

    def without_training_images(self) -> DatasetSplits:
        """Return the splits without training images, for zero-shot trials, which are only measured on real images."""
        return replace(self, train=self.train.subset(torch.arange(0)))


def normalise(images: Tensor, normalisation: Normalisation, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ``(pixel / 255 - mean) / std`` of uint8 images (batch, channels, height, width), on the images' device."""
    mean = torch.tensor(normalisation.mean, dtype=dtype, device=images.device).view(-1, 1, 1)
    std = torch.tensor(normalisation.std, dtype=dtype, device=images.device).view(-1, 1, 1)
    return (images.to(dtype) / 255 - mean) / std
