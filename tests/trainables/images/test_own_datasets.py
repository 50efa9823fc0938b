"""Data sets that other packages bring, by an entry point, or files: here a package on the path with its metadata."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config import SweepConfig
from orchestrator.results import SessionEvent
from orchestrator.results.sessions import session_row
from tests.support.tiny import make_distiller, make_teacher
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import _own_spec, dataset_names, find_normalisation, find_spec
from trainables.errors import DatasetError, DataUnavailableError
from trainables.images.load import load_dataset
from trainables.images.parquet import dataset_parquet
from trainables.storage.object_store import ObjectStore
from trainables.teachers.registry import TeacherRegistry

MODULE = """
import numpy as np
from dataclasses import replace
from trainables.config.datasets import DatasetSpec, Normalisation

def read(data_root):
    def split(count, layout):
        labels = np.arange(count) % 4
        return np.broadcast_to(labels.reshape(-1, 1, 1, 1) * 10, (count, *layout)).astype(np.uint8), labels
    return split(40, (32, 32, 3)), split(8, (3, 32, 32))

birds = DatasetSpec(
    channels=3, num_classes=4, training_images=40, test_images=8, read=read,
    normalisation=Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5)),
)
unseen = replace(birds, read=None)
not_a_spec = {"channels": 3}
too_many_classes = replace(birds, num_classes=3)
other_sizes = replace(birds, test_images=9)
grey = replace(birds, channels=1, normalisation=Normalisation(mean=(0.1,), std=(0.5,)))
two_means = replace(birds, normalisation=Normalisation(mean=(0.1, 0.2), std=(0.5,)))
one_class = replace(birds, num_classes=1)
one_side = replace(birds, image_size=32)
list_of_sides = replace(birds, image_size=[32, 32])
half_a_pixel = replace(birds, image_size=(32, 32.5))
too_small = replace(birds, image_size=(8, 32))
too_large = replace(birds, image_size=(32, 225))

def crash(data_root):
    raise OSError("no disk")

broken = replace(birds, read=crash)
floats = replace(birds, read=lambda root: tuple((images / 255, labels) for images, labels in read(root)))
"""
NAMES = (
    *("birds", "unseen", "not_a_spec", "too_many_classes", "other_sizes", "grey"),
    *("two_means", "one_class", "broken", "floats", "missing"),
    *("one_side", "list_of_sides", "half_a_pixel", "too_small", "too_large"),
)


@pytest.fixture(autouse=True)
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "their_datasets.py").write_text(MODULE)
    metadata = tmp_path / "their_datasets-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-datasets\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "\n".join(["[zskt.datasets]", *(f"{name} = their_datasets:{name}" for name in NAMES), "cifar10 = x:y"])
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_datasets", raising=False)
    _own_spec.cache_clear()
    yield
    _own_spec.cache_clear()


def test_it_is_read_split_and_normalised_like_any_other(tmp_path: Path) -> None:
    splits = load_dataset("birds", data_root=tmp_path, validation_fraction=0.2)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [32, 8, 8]
    assert splits.test.images.shape == (8, 3, 32, 32)
    assert splits.test.images[5].unique().tolist() == [10]
    assert splits.train.labels.bincount().tolist() == [8, 8, 8, 8]
    assert find_normalisation("birds").mean == (0.1, 0.2, 0.3)


def test_a_student_learns_its_classes() -> None:
    distiller = make_distiller(dataset="birds", student="wrn-10-1", teacher="wrn-10-1")
    before = distiller.student.get_parameter("fc.weight").clone()
    distiller.train(1)
    after = distiller.student.get_parameter("fc.weight")
    assert len(after) == 4
    assert not torch.equal(after, before)


def test_a_file_of_it_serves_where_its_images_are_not(tmp_path: Path) -> None:
    splits = load_dataset("birds", data_root=tmp_path, validation_fraction=0)
    file = tmp_path / "birds.parquet"
    parts = {"train": splits.train, "test": splits.test}
    file.write_bytes(dataset_parquet({key: (part.images, part.labels) for key, part in parts.items()}, name="birds"))
    config = ZeroShotConfig(dataset=str(file))
    assert (config.dataset, config.dataset_file) == ("birds", str(file))
    again = load_dataset("birds", data_root=tmp_path / "nowhere", file=file, validation_fraction=0)
    assert torch.equal(again.test.images, splits.test.images)


def test_a_set_of_which_nobody_has_the_images_can_be_distilled_unaudited(tmp_path: Path) -> None:
    config = ZeroShotConfig(dataset="unseen", audited=False, teacher_checkpoint="teacher.pt")
    assert not config.reads_images
    with pytest.raises(DataUnavailableError, match="has no images; .* dataset_file, or set audited: false"):
        load_dataset("unseen", data_root=tmp_path)


def test_names_of_this_project_stay_its_own() -> None:
    assert find_spec("cifar10").training_images == 50_000
    assert dataset_names().count("cifar10") == 1
    with pytest.raises(
        ValueError, match="unknown data set 'bird'; known: cifar10, .*; from installed packages: birds, "
    ):
        ZeroShotConfig(dataset="bird")
    with pytest.raises(ValueError, match="unknown normalisation 'bird'; known: cifar10, .*, birds, .*half, unit"):
        ZeroShotConfig(normalisation="bird")
    assert ZeroShotConfig(normalisation="birds").normalisation == "birds"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_a_spec", r"data set not_a_spec \(their_datasets:not_a_spec\) is a dict; it must be .*DatasetSpec"),
        ("missing", r"data set missing \(their_datasets:missing\) cannot be loaded: .*AttributeError"),
        ("two_means", "mean and std must have 1 or 3 values"),
        ("one_class", "at least 2 classes"),
        ("one_side", r"one_side\) has image_size=32; it must be a tuple of height and width, two ints"),
        ("list_of_sides", r"has image_size=\[32, 32\]; it must be a tuple"),
        ("half_a_pixel", r"has image_size=\(32, 32.5\); it must be a tuple .*, two ints"),
        ("too_small", r"has image_size=\(8, 32\); allowed: sides from 16 to 224 pixels"),
        ("too_large", r"has image_size=\(32, 225\); allowed: sides from 16 to 224 pixels"),
    ],
)
def test_what_is_no_data_set_is_refused_before_anything_runs(name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        ZeroShotConfig(dataset=name)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("too_many_classes", DatasetError, "has labels from 0 to 3; expected are 0 to 2"),
        ("other_sizes", DatasetError, "has 40 training and 8 test images; its spec says 40 and 9"),
        ("grey", DatasetError, r"training images are uint8 \(40, 32, 32, 3\); they must be uint8 \(count, 32, 32\)"),
        ("floats", DatasetError, r"are float64 .*; they must be uint8 \(count, 3, 32, 32\) or \(count, 32, 32, 3\)"),
        ("broken", DataUnavailableError, "broken cannot be read with data_root=.*no disk"),
    ],
)
def test_images_that_are_not_as_its_spec_says_are_refused(
    name: str, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        load_dataset(name, data_root=tmp_path)


def test_the_packages_version_is_kept_with_the_results() -> None:
    sweep = SweepConfig.model_validate({"name": "birds", "trial": {"dataset": "birds"}})
    row = session_row(sweep, [], number=0, event=SessionEvent.STARTED, cpus=1, gpus=0)
    assert '"their-datasets": "1.2"' in row["versions_json"]


def test_one_of_a_file_is_like_one_of_a_package(tmp_path: Path, store: ObjectStore) -> None:
    name = f"{tmp_path / 'their_datasets.py'}:birds"
    splits = load_dataset(name, data_root=tmp_path, validation_fraction=0.2)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [32, 8, 8]
    assert ZeroShotConfig(dataset=name, normalisation=name).report_interval
    recipe = SupervisedConfig(student="lenet", dataset=name)
    registry = TeacherRegistry(store)
    registry.add(make_teacher("lenet", dataset=name), recipe)
    assert registry.holds(recipe)
    assert {key.count("/") for key in store.keys("")} == {2}, "a teacher lies in a folder of its data set"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("{folder}/their_datasets.py:fish", ValueError, "defines no fish"),
        ("{folder}/gone.py:birds", ValueError, "data set '.*gone.py:birds': there is no file .*gone.py"),
        ("{folder}/their_datasets.py:not_a_spec", DatasetError, "is a dict; it must be .*DatasetSpec"),
        ("{folder}/broken.py:birds", DatasetError, "cannot be loaded: .*broken.py fails: ZeroDivisionError"),
    ],
)
def test_a_file_without_such_a_data_set_is_refused(
    name: str, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("birds = 1 / 0")
    for field in ("dataset", "normalisation"):
        with pytest.raises(kind, match=message):
            ZeroShotConfig.model_validate({field: name.format(folder=tmp_path)})


def test_one_of_a_file_is_exported_by_its_name_in_the_file(tmp_path: Path) -> None:
    name = f"{tmp_path / 'their_datasets.py'}:birds"
    written = CliRunner().invoke(app, ["dataset", "export", name, str(tmp_path / "birds.parquet")])
    assert written.exit_code == 0, written.output
    config = ZeroShotConfig(dataset=name, dataset_file=str(tmp_path / "birds.parquet"))
    again = load_dataset(name, data_root=tmp_path / "nowhere", file=Path(str(config.dataset_file)))
    assert len(again.test) == 8
    gone = CliRunner().invoke(app, ["dataset", "export", f"{tmp_path}/gone.py:birds", str(tmp_path / "birds.parquet")])
    assert gone.exit_code == 2 and "there is no file" in gone.output
