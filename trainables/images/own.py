"""Read images of the user's own, as a description and as arrays for trials.

The images are in a folder or an archive with one folder per class, or in a table (``trainables.images.parquet``). They are
converted to one size and one number of channels here, once.
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
"""Share of each class that becomes the test split of a data set without test and validation images."""

_KINDS = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}
_AT_ONCE = 1000
"""Number of images per chunk when mean and standard deviation are computed."""


@dataclass(frozen=True, kw_only=True)
class OwnImages:
    """All images of a data set of the user's own, in the form that trials use."""

    training: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    sha256: str
    """SHA-256 checksum of all image files with their names, labels and splits."""

    notes: tuple[str, ...]
    """Notes on how the images were found and converted, one line each."""

    @property
    def image_size(self) -> ImageSize:
        """Height and width of all images."""
        height, width = self.test.images.shape[2:]
        return height, width

    def description(self, *, with_normalisation: bool) -> dict[str, Any]:
        """Return the fields of a trial's config that describe the images.

        Args:
            with_normalisation: Whether to add the field ``normalisation``, with mean and standard deviation of the training
                images.
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
        """Return a description of the images for the user, followed by the notes, as a list of lines."""
        names = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return [
            f"{len(self.training)} training and {len(self.test)} test images of {len(self.classes)} classes ({names}), "
            f"{image_size_in_words(self.image_size)}, {_KINDS[self.test.images.shape[1]]}",
            *self.notes,
        ]

    def _moments(self) -> str:
        """Return mean and standard deviation of the training images, as a config has them.

        Pixels are in [0, 1]; values are per channel, rounded to four decimal places. Without training images the test images
        are used.
        """
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
    """Read all images, and convert them to one size and one number of channels.

    Without a test split, the validation split serves as test split; if there is neither, a fifth of each class, drawn with a
    fixed seed, is held out as test split. If there is a test split, validation images count as training images, from which
    trials set a validation part aside.

    Args:
        path: Folder or file on this machine.
        origin: Address that the data set comes from, for messages.
        image_size: Height and width to which images are resized. None means the size that all images have.
        channels: Number of channels to which images are converted. None means the number that all images have; if some
            are grey and some coloured, 3.

    Raises:
        DataUnavailableError: the path is no data set, an image cannot be read, sizes or alpha channels differ, or there is
            only one class.
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
    """Return the class number of each image, and the names of the classes.

    Raises:
        DataUnavailableError: there is only one class, a number has no class, or numbers and names are mixed.
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
    """Yield each decoded image, and add it to the checksum.

    If a size is given, each image is resized at once, since large photographs may not all fit into memory.
    """
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
    """Return the images converted to one number of channels, and notes on what was converted.

    Raises:
        DataUnavailableError: ``channels`` is None, and only some of the images have an alpha channel that is needed.
    """
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
                "alpha channel; set channels=3 (or 1) to leave alpha out, or give all images an alpha channel"
            )
        grey = sum(image.channels <= 2 for image in decoded)
        channels = (1 if grey == len(decoded) else 3) + (transparent is not None)
        if 0 < grey < len(decoded):
            notes.append(f"grey images converted to colour, as others are coloured: {grey} of {len(decoded)} images")
        if transparent is None and any(image.has_alpha for image in decoded):
            notes.append("alpha channels are left out, since no image is transparent")
    else:
        notes.append(f"all images are converted to {_KINDS[channels]}, as set by channels={channels}")
    assert channels in MODES
    return [to_channels(image.image, channels) for image in decoded], notes


def _common_size(images: Sequence[Image.Image], named: Sequence[LabelledImage], origin: str) -> ImageSize:
    """Return the height and width that all images have.

    Raises:
        DataUnavailableError: sizes differ, or the size is not allowed.
    """
    width, height = images[0].size
    text = image_size_in_words((height, width))
    for image, each in zip(images, named, strict=True):
        if image.size != (width, height):
            raise DataUnavailableError(
                f"dataset {origin}: {each.where} has {image_size_in_words(image.size[::-1])} pixels (height x width) and "
                f"{named[0].where} {text}; set image_size, to which all images are then resized (bilinearly, antialiased)"
            )
    try:
        return parse_image_size(text)
    except ValueError as error:
        raise DataUnavailableError(
            f"dataset {origin}: {error}; set image_size, to which all images are then resized (bilinearly, antialiased)"
        ) from error


def _split(splits: Sequence[str | None], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return the indices of the training and of the test images, and notes on how the test images were chosen."""
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
        return training, validation, ["the validation images serve as test split, as there is no other"]
    held_out, kept = stratified(labels[training], HELD_OUT, seed=0, purpose="test split")
    said = f"{HELD_OUT:.0%} of each class are held out as test split, as there is none"
    return training[kept], training[held_out], [said]


def _check_classes(training: torch.Tensor, test: torch.Tensor, classes: Sequence[str], origin: str) -> list[str]:
    """Check that each class has training images, and return a note that names classes without test images.

    A class without training images comes from a misspelt folder, or from labels that do not count from 0. Without any
    training images each class needs a test image.

    Raises:
        DataUnavailableError: there are no test images, or a class has no training image.
    """
    if not len(test):
        raise DataUnavailableError(
            f"dataset {origin} has no test images: without a folder test, {HELD_OUT:.0%} of each class are held out, "
            "but no class has enough images; add images, or put some into a folder test"
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
