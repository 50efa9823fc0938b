from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from trainables.config.datasets import dataset_names, find_normalisation, find_spec
from trainables.errors import DataUnavailableError
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits, normalise
from trainables.training.supervised import crop_and_flip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DatasetSplits:
    return load_dataset("digits", data_root=tmp_path_factory.mktemp("none"), validation_fraction=0.25)


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_digits_are_padded_split_by_class_and_disjoint(digits: DatasetSplits) -> None:
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [3000, 1000, 1000]
    for part, per_class in ((digits.train, 300), (digits.validation, 100), (digits.test, 100)):
        assert part.images.shape[1:] == (1, 32, 32)
        assert part.images.dtype == torch.uint8
        assert torch.bincount(part.labels).tolist() == [per_class] * 10
        assert not part.images[:, :, :2].any()
        assert not part.images[..., -2:].any()
        assert part.images.max() == 255
    parts = [rows(part.images) for part in (digits.train, digits.validation, digits.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_the_split_seed_moves_the_validation_part_and_never_the_test_part(
    tmp_path: Path, digits: DatasetSplits
) -> None:
    same = load_dataset("digits", data_root=tmp_path, validation_fraction=0.25)
    other = load_dataset("digits", data_root=tmp_path, validation_fraction=0.25, split_seed=1)
    smaller = load_dataset("digits", data_root=tmp_path, validation_fraction=0.1)
    assert torch.equal(same.validation.images, digits.validation.images)
    assert not torch.equal(other.validation.images, digits.validation.images)
    assert torch.equal(other.test.images, digits.test.images)
    assert [len(smaller.train), len(smaller.validation)] == [3600, 400]


def test_normalisation_by_hand() -> None:
    pixel = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    result = normalise(pixel, find_normalisation("cifar10")).flatten().tolist()
    assert result == pytest.approx([-0.4914 / 0.2023, (1 - 0.4822) / 0.1994, (0.2 - 0.4465) / 0.2010], rel=1e-5)
    assert normalise(pixel, find_normalisation("half")).flatten().tolist() == pytest.approx([-1, 1, -0.6])


def test_every_data_set_has_a_normalisation_of_its_own() -> None:
    for name in dataset_names():
        assert len(find_normalisation(name).mean) == find_spec(name).channels


RNG = np.random.Generator(np.random.PCG64(0))


def fake_cifar(root: Path, cls: Any, monkeypatch: pytest.MonkeyPatch, *, key: bytes, classes: int) -> None:
    """Small files in the official format; torchvision's checksums are replaced by theirs."""
    folder = root / cls.base_folder
    folder.mkdir(parents=True)

    def put(name: str, content: Any) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(count: int) -> dict[bytes, Any]:
        pixels = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {b"data": pixels, key: [i % classes for i in range(count)]}

    def as_text(content: dict[bytes, Any]) -> dict[str, Any]:
        return {name.decode(): value for name, value in content.items()}

    trains = [[name, put(name, as_text(batch(2 * classes)))] for name, _ in cls.train_list]
    tests = [[name, put(name, as_text(batch(classes)))] for name, _ in cls.test_list]
    names = put(cls.meta["filename"], {cls.meta["key"]: [str(i) for i in range(classes)]})
    monkeypatch.setattr(cls, "train_list", trains)
    monkeypatch.setattr(cls, "test_list", tests)
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": names})


@pytest.mark.parametrize(
    ("name", "cls", "key", "classes", "batches"),
    [("cifar10", datasets.CIFAR10, b"labels", 10, 5), ("cifar100", datasets.CIFAR100, b"fine_labels", 100, 1)],
)
def test_cifar_is_read_from_its_folder(  # noqa: PLR0917
    name: str, cls: Any, key: bytes, classes: int, batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cifar(tmp_path, cls, monkeypatch, key=key, classes=classes)
    splits = load_dataset(name, data_root=tmp_path, validation_fraction=0.5, download=False)
    total = 2 * classes * batches
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [total // 2, total // 2, classes]
    assert splits.test.images.shape == (classes, 3, 32, 32)
    raw = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    first = torch.as_tensor(raw(tmp_path, train=False).data[0]).permute(2, 0, 1)
    assert torch.equal(splits.test.images[0], first)


def test_svhn_is_read_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_list = dict(datasets.SVHN.split_list)
    for split in ("train", "test"):
        file = tmp_path / split_list[split][1]
        labels = np.array([1, 2, 10, 1, 2, 10, 1, 2, 10, 10], dtype=np.uint8)[:, None]  # 10 stands for the digit 0
        savemat(file, {"X": RNG.integers(0, 256, (32, 32, 3, 10), dtype=np.uint8), "y": labels})
        split_list[split] = [*split_list[split][:2], hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    splits = load_dataset("svhn", data_root=tmp_path, validation_fraction=0.3, download=False)
    assert len(splits.train) + len(splits.validation) == 10
    assert splits.test.labels.tolist() == [1, 2, 0, 1, 2, 0, 1, 2, 0, 0]
    assert splits.test.images.shape == (10, 3, 32, 32)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_mnists_are_read_from_their_folder_and_padded(name: str, folder: str, tmp_path: Path) -> None:
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 40), ("t10k", 20)):
        pixels = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for suffix, data in (
            ("images-idx3-ubyte", struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes()),
            ("labels-idx1-ubyte", struct.pack(">II", 2049, count) + labels.tobytes()),
        ):
            (raw / f"{prefix}-{suffix}").write_bytes(data)
            (raw / f"{prefix}-{suffix}.gz").write_bytes(gzip.compress(data))
    splits = load_dataset(name, data_root=tmp_path, validation_fraction=0.25, download=False)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 20]
    assert splits.test.images.shape == (20, 1, 32, 32)
    assert np.array_equal(splits.test.images[-1, 0, 2:30, 2:30].numpy(), pixels[-1])


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != "digits"])
def test_a_missing_data_set_names_its_folder_and_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=f"{name} is not complete in {tmp_path}.*--data-root"):
        load_dataset(name, data_root=tmp_path, download=False)


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'imagenet'; known: cifar10"):
        load_dataset("imagenet", data_root=tmp_path)


def test_crop_and_flip_moves_pixels_by_at_most_4_and_mirrors_half() -> None:
    images = torch.arange(1, 32 * 32 + 1, dtype=torch.int32).view(1, 1, 32, 32).repeat(400, 1, 1, 1)
    result = crop_and_flip(images, torch.Generator().manual_seed(0))
    assert result.shape == images.shape
    offsets, flips = set(), 0
    for image in result[:, 0]:
        inside = torch.nonzero(image)
        row, column = inside[len(inside) // 2].tolist()
        source = int(image[row, column]) - 1
        flipped = int(image[row, column + 1]) < int(image[row, column])
        flips += flipped
        offsets.add((source // 32 - row, source % 32 - (31 - column if flipped else column)))
        assert (image > 0).sum() >= 28 * 28
    assert {abs(part) for offset in offsets for part in offset} == {0, 1, 2, 3, 4}
    assert 150 < flips < 250
