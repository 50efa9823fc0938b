"""Images of one's own: what they are, and the arrays that trials are given.

They lie in a folder or an archive with one folder a class, or in a table (``trainables.images.parquet``). All are brought
to one size and one number of channels here, once.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainables.config.datasets import (
    ImageSize,
    image_size_in_words,
    normalisation_in_words,
    parse_image_size,
)
from trainables.errors import DataUnavailableError
from trainables.images.folders import is_folders, read_folders
from trainables.images.labelled import LabelledImage, LabelledImages
from trainables.images.parquet import holds_tables, read_tables
from trainables.images.pixels import MODES, Decoded, decode, resized, to_channels
from trainables.images.splits import ImageSet
from trainables.images.stratified import stratified

HELD_OUT = 0.2
"""Share of each class that becomes the test split where nothing else says which images are it."""

_KINDS = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}
_AT_ONCE = 1000
"""Images of which moments are taken at once."""


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """All images of a data set of one's own, as trials are given them."""

    training: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    sha256: str
    """Checksum of all files with their names, labels and splits: the same images in the same place."""

    notes: tuple[str, ...]
    """What was done to them, a line each."""

    @property
    def image_size(self) -> ImageSize:
        """Height and width of all images."""
        height, width = self.test.images.shape[2:]
        return height, width

    def description(self, *, with_normalisation: bool) -> dict[str, Any]:
        """What a trial's config says of them.

        Args:
            with_normalisation: Whether mean and standard deviation of the training images are their normalisation.
        """
        described = {
            "channels": self.test.images.shape[1],
            "num_classes": len(self.classes),
            "image_size": image_size_in_words(self.image_size),
            "training_images": len(self.training),
            "test_images": len(self.test),
            "dataset_sha256": self.sha256,
        }
        return {**described, **({"normalisation": self._moments()} if with_normalisation else {})}

    def in_words(self) -> list[str]:
        """What they are, and what was done to them, a line each."""
        names = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return [
            f"{len(self.training)} training and {len(self.test)} test images of {len(self.classes)} classes ({names}), "
            f"{image_size_in_words(self.image_size)}, {_KINDS[self.test.images.shape[1]]}",
            *self.notes,
        ]

    def _moments(self) -> str:
        """Mean and standard deviation of the training images' pixels in [0, 1], by channel, to four digits."""
        images = (self.training if len(self.training) else self.test).images
        sums = np.zeros((2, images.shape[1]))
        for start in range(0, len(images), _AT_ONCE):
            values = images[start : start + _AT_ONCE].numpy().astype(np.float64) / 255
            sums += [values.sum((0, 2, 3)), np.square(values).sum((0, 2, 3))]
        mean, square = sums / (len(images) * images[0, 0].numel())
        std = np.sqrt(np.maximum(square - np.square(mean), 0))
        return normalisation_in_words(mean.round(4).tolist(), np.maximum(std.round(4), 1e-4).tolist())


def read_own_images(
    path: Path, *, origin: str, image_size: str | None = None, channels: int | None = None
) -> OwnImages:
    """Read all images, and bring them to one size and one number of channels.

    Without a test split the validation split is taken as one, or else a fifth of each class, drawn with a fixed seed;
    validation images beside a test split belong to the training images, from which trials set a part aside.

    Args:
        path: The folder or file on this machine.
        origin: Where it comes from, for messages.
        image_size: Height and width that images are resized to; none: what all have.
        channels: That images are converted to; none: what all share, and colours where some are grey.

    Raises:
        DataUnavailableError: an image cannot be read, sizes differ, there is one class only, or nothing that is known as a
            data set.
    """
    if not path.exists():
        raise DataUnavailableError(f"dataset {origin}: there is no such folder or file")
    tables = holds_tables(path) or not is_folders(path)
    found = read_tables(path, origin=origin) if tables else read_folders(path, origin=origin)
    if not found.images:
        raise DataUnavailableError(f"dataset {origin} has no images")
    labels, classes = _numbers(found, origin)
    size = parse_image_size(str(image_size)) if image_size else None
    checksum = hashlib.sha256()
    decoded = list(_decoded(found.images, origin, size, channels, checksum))
    images, notes = _as_channels(decoded, found.images, origin, channels)
    size = size or _common_size(images, found.images, origin)
    small = [resized(image, size) for image in images]
    pixels = np.stack([np.asarray(image, dtype=np.uint8) for image in small])
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    everything = ImageSet(images=torch.from_numpy(np.ascontiguousarray(pixels)), labels=torch.tensor(labels))
    training, test, said = _split([image.split for image in found.images], everything.labels)
    said += _check_classes(everything.labels[training], everything.labels[test], classes, origin)
    return OwnImages(
        training=everything.subset(training),
        test=everything.subset(test),
        classes=classes,
        sha256=checksum.hexdigest(),
        notes=(*found.notes, *notes, *said),
    )


def _numbers(found: LabelledImages, origin: str) -> tuple[list[int], tuple[str, ...]]:
    """Numbers of the images' classes, and the classes' names.

    Raises:
        DataUnavailableError: there is one class only, or a number that is none.
    """
    names = found.classes
    if names is None and all(isinstance(image.label, str) for image in found.images):
        names = tuple(sorted({str(image.label) for image in found.images}))
    elif names is None:
        numbers = [image.label for image in found.images if isinstance(image.label, int)]
        if len(numbers) < len(found.images):
            raise DataUnavailableError(f"dataset {origin} has numbers as labels in one file and names in another")
        names = tuple(str(number) for number in range(1 + max(numbers)))
    places = {name: place for place, name in enumerate(names)}
    labels = [places[image.label] if isinstance(image.label, str) else image.label for image in found.images]
    for image, label in zip(found.images, labels, strict=True):
        if not 0 <= label < len(names):
            raise DataUnavailableError(
                f"dataset {origin}, {image.where} has label {label}; expected are 0 to {len(names) - 1}"
            )
    if len(set(labels)) < 2:
        raise DataUnavailableError(
            f"dataset {origin} has one class only, {names[labels[0]]}; at least two are needed, each a folder or a label"
        )
    return labels, names


def _decoded(
    images: Sequence[LabelledImage],
    origin: str,
    size: ImageSize | None,
    channels: int | None,
    checksum: Any,
) -> Iterator[Decoded]:
    """Each image, resized at once where a size is asked for, since photographs may not all fit into memory."""
    for image in images:
        where = f"dataset {origin}, {image.where}"
        try:
            content = image.read()
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataUnavailableError(f"{where}: the image cannot be read: {error}") from error
        checksum.update(f"{image.where}\0{image.split}\0{image.label}\0".encode())
        checksum.update(content if isinstance(content, bytes) else f"{content.shape}".encode() + content.tobytes())
        decoded = decode(content, where)
        picture = decoded.image if channels is None else to_channels(decoded.image, channels)
        yield Decoded(
            image=resized(picture, size) if size else picture,
            has_alpha=decoded.has_alpha,
            from_16_bits=decoded.from_16_bits,
        )


def _as_channels(
    decoded: Sequence[Decoded], named: Sequence[LabelledImage], origin: str, channels: int | None
) -> tuple[list[Image.Image], list[str]]:
    """The images with one number of channels, and what was done for it."""
    notes = []
    sixteen = sum(image.from_16_bits for image in decoded)
    if sixteen:
        notes.append(f"rounded from 16 bits to 8: {sixteen} of {len(decoded)} images")
    if channels is None:
        transparent = next((i for i, image in enumerate(decoded) if image.channels in {2, 4}), None)
        opaque = next((i for i, image in enumerate(decoded) if not image.has_alpha), None)
        if transparent is not None and opaque is not None:
            raise DataUnavailableError(
                f"dataset {origin}: {named[transparent].where} is transparent in places and {named[opaque].where} has no "
                "alpha channel; say channels=3 (or 1) to leave alpha out, or make all alike"
            )
        grey = sum(image.channels <= 2 for image in decoded)
        channels = (1 if grey == len(decoded) else 3) + (transparent is not None)
        if 0 < grey < len(decoded):
            notes.append(f"grey among colours, and given three equal channels: {grey} of {len(decoded)} images")
        if transparent is None and any(image.has_alpha for image in decoded):
            notes.append("alpha channels are left out, since all that have one are opaque")
    else:
        notes.append(f"all are converted to {_KINDS[channels]}, as channels={channels} says")
    assert channels in MODES
    return [to_channels(image.image, channels) for image in decoded], notes


def _common_size(images: Sequence[Image.Image], named: Sequence[LabelledImage], origin: str) -> ImageSize:
    """Height and width of all images.

    Raises:
        DataUnavailableError: they differ, or are none that can be used.
    """
    width, height = images[0].size
    text = image_size_in_words((height, width))
    for image, each in zip(images, named, strict=True):
        if image.size != (width, height):
            raise DataUnavailableError(
                f"dataset {origin}: {each.where} has {image_size_in_words(image.size[::-1])} pixels (height x width) and "
                f"{named[0].where} {text}; say image_size, to which all are then resized (bilinearly, with antialiasing)"
            )
    try:
        return parse_image_size(text)
    except ValueError as error:
        raise DataUnavailableError(
            f"dataset {origin}: {error}; say image_size, to which all are then resized (bilinearly, with antialiasing)"
        ) from error


def _split(splits: Sequence[str | None], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Indices of the training and of the test images, and how they were found."""
    of = {
        name: torch.tensor([i for i, split in enumerate(splits) if split == name], dtype=torch.long)
        for name in {*splits}
    }
    training, validation, test = (of.get(name, torch.arange(0)) for name in ("train", "validation", "test"))
    training = torch.cat([training, of.get(None, torch.arange(0))])
    if len(test):
        if len(validation):
            said = "validation images belong to the training images, from which validation_fraction sets a part aside"
            return torch.cat([training, validation]).sort().values, test, [said]
        return training, test, []
    if len(validation):
        return training, validation, ["the validation images are the test split, as there is no other"]
    held_out, kept = stratified(labels[training], HELD_OUT, seed=0, purpose="test split")
    said = f"{HELD_OUT:.0%} of each class are held out as test split, as there is none"
    return training[kept], training[held_out], [said]


def _check_classes(training: torch.Tensor, test: torch.Tensor, classes: Sequence[str], origin: str) -> list[str]:
    """Refuse a class that nobody can learn, which is a misspelt folder or labels that do not count from 0; and say which no
    test image tells of."""
    if not len(test):
        raise DataUnavailableError(
            f"dataset {origin} has no test images: {HELD_OUT:.0%} of each class are held out where there is no folder test, "
            "and no class has enough for one; bring more images, or put some below test"
        )
    unlearnt, untested = (set(range(len(classes))) - set(labels.tolist()) for labels in (training, test))
    unknown = sorted(unlearnt if len(training) else untested)
    if unknown:
        raise DataUnavailableError(
            f"dataset {origin} has no {'training' if len(training) else 'test'} image of class {classes[unknown[0]]} "
            f"(number {unknown[0]}), and every class needs one; labels count from 0"
        )
    names = ", ".join(classes[number] for number in sorted(untested))
    return [f"no test image is of class {names}"] if untested else []
