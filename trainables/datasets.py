"""What is known of each data set without reading it: shapes, classes, normalisation. Free of torch.

The constants of CIFAR-10 and SVHN are those of the published code; CIFAR-100's are those of the authors' few-shot
repository. The two MNISTs use their customary training-set moments, measured on 28x28 images before padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

DatasetName = Literal["cifar10", "cifar100", "svhn", "mnist", "fashion_mnist", "digits"]
NormalisationName = Literal["cifar10", "cifar100", "svhn", "mnist", "fashion_mnist", "digits", "half", "unit"]

DATASET_NAMES: tuple[str, ...] = get_args(DatasetName)
NORMALISATION_NAMES: tuple[str, ...] = get_args(NormalisationName)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Shape of a data set as the networks see it: ``channels`` x 32 x 32 pixels, ``num_classes`` labels.

    ``augment`` says whether the published teacher recipe crops and flips its images (section 3.1: CIFAR yes, SVHN no;
    digits would not survive a flip). ``training_images`` is the size of the official training split, by which few-shot
    training is made as long as training on all data; ``test_images`` that of the test split.
    """

    channels: int
    num_classes: int
    augment: bool
    training_images: int
    test_images: int


IMAGE_SIZE = 32
"""Height and width of every image, in pixels; the 28x28 sets are padded with their background (0)."""

SPECS: dict[str, DatasetSpec] = {
    "cifar10": DatasetSpec(channels=3, num_classes=10, augment=True, training_images=50_000, test_images=10_000),
    "cifar100": DatasetSpec(channels=3, num_classes=100, augment=True, training_images=50_000, test_images=10_000),
    "svhn": DatasetSpec(channels=3, num_classes=10, augment=False, training_images=73_257, test_images=26_032),
    "mnist": DatasetSpec(channels=1, num_classes=10, augment=False, training_images=60_000, test_images=10_000),
    "fashion_mnist": DatasetSpec(channels=1, num_classes=10, augment=False, training_images=60_000, test_images=10_000),
    "digits": DatasetSpec(channels=1, num_classes=10, augment=False, training_images=4_000, test_images=1_000),
}


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """``(pixel / 255 - mean) / std`` per channel; a single value serves every channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


NORMALISATIONS: dict[str, Normalisation] = {
    "cifar10": Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    "cifar100": Normalisation(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    "svhn": Normalisation(mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
    "mnist": Normalisation(mean=(0.1307,), std=(0.3081,)),
    "fashion_mnist": Normalisation(mean=(0.2860,), std=(0.3530,)),
    "digits": Normalisation(mean=(0.1307,), std=(0.3081,)),
    "half": Normalisation(mean=(0.5,), std=(0.5,)),
    "unit": Normalisation(mean=(0.0,), std=(1.0,)),
}
