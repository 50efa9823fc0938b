from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.inputs.files import fetch_dataset
from orchestrator.storage import find_object
from tests.support.tiny import PLACES, make_images, tiny_settings
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import find_spec
from trainables.errors import DataUnavailableError
from trainables.images.load import load_dataset
from trainables.images.parquet import dataset_parquet, read_dataset_parquet
from trainables.images.splits import DatasetSplits
from trainables.storage.node_cache import NodeCache
from trainables.teachers.registry import recipe_key


def equal(ours: DatasetSplits, theirs: DatasetSplits) -> bool:
    parts = [(getattr(ours, name), getattr(theirs, name)) for name in ("train", "validation", "test")]
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in parts)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_an_exported_data_set_gives_the_same_splits_bit_for_bit(place: str, tmp_path: Path) -> None:
    folder, _, query = place.partition("?")
    address = f"{folder}/data/digits.parquet" + (f"?{query}" if query else "")
    exported = CliRunner().invoke(app, ["dataset", "export", "digits", address, "--data-root", str(tmp_path)])
    assert exported.exit_code == 0, exported.output
    assert "4000 training and 1000 test images" in exported.output.replace("\n", " ")
    settings: dict[str, Any] = {"validation_fraction": 0.25, "split_seed": 3, "data_root": tmp_path}
    theirs = load_dataset("digits", **settings)
    ours = load_dataset("digits", file=fetch_dataset(address), **settings)
    assert equal(ours, theirs)


def test_colours_survive(tmp_path: Path) -> None:
    images = make_images(12, channels=3)
    file = tmp_path / "cifar10.parquet"
    part = (images.images, images.labels)
    file.write_bytes(dataset_parquet({"train": part, "test": part}, name="cifar10"))
    splits = load_dataset("cifar10", data_root=tmp_path, file=file, validation_fraction=0)
    assert torch.equal(splits.test.images, images.images)
    assert torch.equal(splits.train.labels, images.labels)
    first = pq.read_table(file)["image"][0].as_py()
    assert Image.open(io.BytesIO(first)).size == (32, 32), "anybody can look at it"


def test_an_address_as_dataset_is_short_for_name_and_file() -> None:
    address = "s3://bucket/data/digits.parquet?scheme=http&endpoint_override=127.0.0.1:1"
    config = ZeroShotConfig.model_validate(tiny_settings(dataset=address))
    assert (config.dataset, config.dataset_file) == ("digits", address)
    assert config.splits_key != ZeroShotConfig.model_validate(tiny_settings()).splits_key
    sweep = load_sweep("quickstart", assignments=[f"dataset={address}"])
    assert (sweep.trial["dataset"], sweep.trial["dataset_file"]) == ("digits", address)
    assert sweep.configs()[0].dataset_file == address
    # Where the images come from makes no other teacher.
    files = [recipe_key(SupervisedConfig(dataset="digits", dataset_file=file)) for file in (None, "/a/digits.parquet")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ("s3://id:secret@bucket/digits.parquet", "the address holds a key"),
        (
            "s3://bucket/digits",
            "unknown data set 's3://bucket/digits'; known: .* or FOLDER/NAME.parquet of a named one",
        ),
    ],
)
def test_what_is_wrong_with_an_address_is_said_before_anything_runs(dataset: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load_sweep("quickstart", assignments=[f"dataset={dataset}"])
    assert "id:secret" not in str(caught.value)


def png(size: int = 32) -> bytes:
    file = io.BytesIO()
    Image.new("L", (size, size)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": None}, "has no column image"),
        ({"split": None}, r"has no column split; expected are .* as zskt dataset export writes them"),
        ({"split": ["train", "train"]}, "has no rows with split=test"),
        ({"label": [0, 10]}, "here, row 1 has label 10; expected are 0 to 9"),
        ({"image": [b"no picture", png()]}, "here, row 0: 10 bytes that are neither PNG nor JPEG"),
        ({"image": [png(30), png()]}, "here, row 0: the image has 30x30 pixels; expected are 32x32 or 28x28"),
    ],
)
def test_a_file_that_is_no_such_data_set_says_what_is_missing(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    columns = {"image": [png(), png()], "label": [0, 1], "split": ["train", "test"], **changes}
    pq.write_table(pa.table({name: values for name, values in columns.items() if values}), tmp_path / "digits.parquet")
    with pytest.raises(DataUnavailableError, match=reason) as caught:
        read_dataset_parquet(tmp_path / "digits.parquet", find_spec("digits"), origin="here")
    assert "dataset here" in str(caught.value)


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "digits.parquet"
    with pytest.raises(
        DataUnavailableError, match="digits.parquet: there is no such file or folder; zskt dataset export"
    ):
        fetch_dataset(str(file))
    pq.write_table(pa.table({"image": [png()]}), file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataUnavailableError, match="cannot be read as Parquet"):
        load_dataset("digits", data_root=tmp_path, file=file)


def test_export_refuses_another_name() -> None:
    for arguments, reason in (
        (["mnist", "somewhere/digits.parquet"], "must be named mnist.parquet"),
        (["imagenet", "somewhere/imagenet.parquet"], "unknown data set 'imagenet'"),
    ):
        result = CliRunner().invoke(app, ["dataset", "export", *arguments])
        assert result.exit_code == 2
        assert reason in result.output.replace("\n", " ")


_FETCH = """
import sys
from pathlib import Path
from orchestrator.storage import find_object
from trainables.storage.node_cache import NodeCache
print(len(NodeCache(Path(sys.argv[2])).fetch(*find_object(sys.argv[1])).read_bytes()))
"""


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_many_processes_fetch_an_object_once_and_a_new_version_again(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, query = place.partition("?")
    address = f"{folder}/object.bin?{query}"
    store, key = find_object(address)
    store.write(key, b"x" * 10**6)
    command = [sys.executable, "-c", _FETCH, address, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["1000000"] * 4
    assert len([path for path in tmp_path.iterdir() if not path.suffix]) == 1
    cache = NodeCache(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(type(store.filesystem), "read", None)  # nothing is read again
        assert len(cache.fetch(store, key).read_bytes()) == 10**6
    store.write(key, b"new")
    assert cache.fetch(store, key).read_bytes() == b"new"
