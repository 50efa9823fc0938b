"""Images of any size: what follows their height and width, and that the named sets keep their own."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from orchestrator.storage import open_storage
from tests.support.tiny import make_splits, tiny_settings
from trainables.compute.flops import step_work
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import find_spec, parse_image_size
from trainables.images.load import load_dataset
from trainables.images.parquet import dataset_parquet
from trainables.networks import build_network
from trainables.networks.generator import Generator
from trainables.profiling.dummies import dummy_probe, dummy_splits, dummy_teacher
from trainables.teachers import probe_synthesis
from trainables.teachers.discernment import only_class_in_noise
from trainables.teachers.probe_registry import ProbeRegistry
from trainables.teachers.probe_set import make_probe
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.supervised import crop_and_flip

SIZES = [(16, 16), (28, 28), (48, 40), (30, 33), (64, 64)]


def config_of(size: str, **changes: object) -> ZeroShotConfig:
    return ZeroShotConfig.model_validate({**tiny_settings(), "image_size": size, **changes})


@pytest.mark.parametrize(("given", "stored"), [(28, "28x28"), ("28", "28x28"), ("48x40", "48x40"), ("016", "16x16")])
def test_a_size_has_one_spelling_in_rows_and_ids(given: object, stored: str) -> None:
    assert SupervisedConfig.model_validate({"image_size": given}).image_size == stored


@pytest.mark.parametrize("given", [15, 225, "28x", "x28", "28x28x3", "-28", "28.0", 28.5, True, [28], "٢٨", ""])
def test_another_size_is_refused_with_what_is_allowed(given: object) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        SupervisedConfig.model_validate({"image_size": given})


@pytest.mark.parametrize("size", SIZES)
def test_pseudo_images_are_as_large_as_is_asked_for(size: tuple[int, int]) -> None:
    generator = Generator(latent_dim=5, width=4, channels=2, image_size=size)
    assert generator(torch.randn(3, 5)).shape == (3, 2, *size)


def test_a_size_that_is_no_multiple_of_four_is_the_middle_of_the_next_larger() -> None:
    torch.manual_seed(0)
    larger = Generator(latent_dim=5, width=4, channels=1, image_size=(32, 36)).eval()
    smaller = Generator(latent_dim=5, width=4, channels=1, image_size=(30, 33)).eval()
    smaller.load_state_dict(larger.state_dict())
    latents = torch.randn(2, 5)
    assert torch.equal(smaller(latents), larger(latents)[..., 1:31, 1:34])


@pytest.mark.parametrize("name", ["lenet", "lenet-bn", "wrn-10-1", "resnet-18"])
@pytest.mark.parametrize("size", SIZES)
def test_networks_take_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    network = build_network(name, num_classes=7, channels=1, image_size=size).eval()
    logits, activations = network(torch.randn(2, 1, *size))
    assert logits.shape == (2, 7)
    assert all(math.prod(activation.shape[2:]) > 1 for activation in activations)


@pytest.mark.parametrize("size", ["28", "48x40", "30x33"])
def test_a_trial_trains_and_is_scored_at_any_size(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_synthesis, "_STEPS", 2)
    config = config_of(size, data_free_scores=True, attention_weight=100.0)
    teacher = dummy_teacher(config)
    shape = (1, *parse_image_size(size))
    assert make_probe(teacher).images["confident"].shape[1:] == shape
    only_class_in_noise(teacher)
    trial = ZeroShotDistiller(
        config, teacher=teacher, splits=dummy_splits(config, train=0, test=8), probe=dummy_probe(config)
    )
    trial.step()
    assert trial.report()["test_accuracy"] is not None
    height, width = parse_image_size(size)
    picture = Image.open(io.BytesIO(trial.image_snapshot().png))
    assert picture.height >= 2 * height and picture.width >= 4 * width


def test_larger_images_are_more_work() -> None:
    small, usual, large = (
        step_work(config_of(size, student="wrn-10-1", teacher="wrn-10-1")).flops for size in ("16", "32", "64")
    )
    assert 3.5 < large / usual < 4.5 and 3.5 < usual / small < 4.5


def test_what_is_known_of_a_data_set_follows_the_size_asked_for() -> None:
    spec = config_of("48x40").spec
    assert (spec.image_shape, spec.num_classes) == ((1, 48, 40), 10)
    assert config_of("48x40").splits_key != config_of("40x48").splits_key
    assert ZeroShotConfig.model_validate(tiny_settings()).spec == find_spec("digits")


def test_padded_images_are_as_they_were_taken_at_their_first_size(tmp_path: Path) -> None:
    padded = load_dataset("digits", data_root=tmp_path).test.images
    plain = load_dataset("digits", data_root=tmp_path, image_size=(28, 28)).test.images
    assert padded.shape[2:] == (32, 32)
    assert torch.equal(padded[..., 2:-2, 2:-2], plain)
    assert padded[..., :2, :].sum() == 0


def test_a_file_of_padded_images_gives_the_same_at_every_size(tmp_path: Path) -> None:
    splits = load_dataset("digits", data_root=tmp_path, validation_fraction=0)
    file = tmp_path / "digits.parquet"
    few = {
        name: (part.images[:50], part.labels[:50]) for name, part in (("train", splits.train), ("test", splits.test))
    }
    file.write_bytes(dataset_parquet(few, name="digits"))
    for size in ((28, 28), (48, 40)):
        theirs = load_dataset("digits", data_root=tmp_path, image_size=size).test.images[:50]
        ours = load_dataset("digits", data_root=tmp_path, image_size=size, file=file, validation_fraction=0).test.images
        assert torch.equal(theirs, ours)
        assert ours.shape[2:] == size


def test_resized_images_keep_their_brightness(tmp_path: Path) -> None:
    plain = load_dataset("digits", data_root=tmp_path, image_size=(28, 28)).test.images[:100].double()
    large = load_dataset("digits", data_root=tmp_path, image_size=(56, 56)).test.images[:100].double()
    assert np.allclose(large.mean((1, 2, 3)), plain.mean((1, 2, 3)), rtol=0.03)


def test_crops_keep_the_size_of_images_that_are_not_square() -> None:
    images = torch.arange(2 * 1 * 20 * 17).view(2, 1, 20, 17)
    assert crop_and_flip(images, torch.Generator().manual_seed(0)).shape == images.shape


def test_probe_sets_of_two_sizes_are_kept_apart(tmp_path: Path) -> None:
    registry = ProbeRegistry(open_storage(str(tmp_path)))
    config = config_of("48x40")
    registry.add(dummy_probe(config), dummy_teacher(config).metadata)
    assert registry.find(dummy_teacher(config).metadata) is not None
    assert registry.find(dummy_teacher(config_of("40x48")).metadata) is None


def test_images_of_the_tests_have_their_own_size() -> None:
    assert make_splits("digits", train=10).test.images.shape[2:] == (32, 32)
