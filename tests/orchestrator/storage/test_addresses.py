"""What is written at an address lies exactly there, whatever characters it has: seen with the system's and boto3's eyes."""

from __future__ import annotations

import io
import shlex
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.cli.options import same_command
from orchestrator.commands.evaluate import load_network
from orchestrator.config.blocks import StorageConfig
from orchestrator.inputs.files import fetch_dataset, published_teacher
from orchestrator.storage import find_object, find_storage
from tests.support.tiny import make_bucket, make_splits, make_teacher
from trainables.config import SupervisedConfig

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20).filter(
    lambda name: name not in {".", ".."} and len(name.encode()) < 200
)
"""What a folder may be called. The listing hides names that begin with a dot, which is no matter of addresses."""

ODD = ["t#1", "a?b", "100%", "%23", "a b", "a+b", "a=b&c", "é", "[red]", "'\"", "~", "$HOME", "C:\\x", ";", "#", "s3:"]

generated = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_odd_names(test: Any) -> Any:
    for name in ODD:
        test = example(name=name)(test)
    return generated(given(name=NAMES)(test))


def kept_at(address: str) -> str:
    """Keep an object at a storage's address and one in it by its own; where the storage finds them again."""
    find_storage(address).write("kept", b"there")
    place, mark, query = address.partition("?") if address.startswith("s3://") else (address, "", "")
    folder, key = find_object(f"{place}/file{mark}{query}")
    folder.write(key, b"file")
    again = find_storage(address)
    assert again.keys("") == ["file", "kept"]
    assert again.read("file") == b"file"
    assert fetch_dataset(f"{place}/file{mark}{query}").read_bytes() == b"file"
    return again.root


@pytest.mark.parametrize("scheme", ["", "file://"])
@with_odd_names
def test_a_folder_has_the_name_that_was_typed(scheme: str, name: str, tmp_path: Path) -> None:
    place = tmp_path / uuid.uuid4().hex
    kept_at(f"{scheme}{place}/{name}/in it")
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert found == {f"{name}/in it/kept": b"there", f"{name}/in it/file": b"file"}


@generated
@given(name=NAMES)
@example(name="t#1")
@example(name="a?b")
@example(name="%23 +é")
@example(name="~")
@example(name="~nobody")
def test_a_relative_folder_has_the_name_that_was_typed(name: str, tmp_path: Path) -> None:
    place = tmp_path / uuid.uuid4().hex
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        kept_at(f"./{name}")
    assert {path.name for path in (place / name).iterdir()} == {"kept", "file"}


@pytest.fixture(scope="module")
def bucket(moto: str) -> str:
    return make_bucket(moto)


@with_odd_names
def test_a_key_is_the_one_that_was_typed(name: str, bucket: str, moto: str) -> None:
    place, _, query = bucket.partition("?")
    prefix = f"{uuid.uuid4().hex}/{name.replace('?', '')}"  # begins the options
    kept_at(f"{place}/{prefix}?{query}")
    service = boto3.client("s3", endpoint_url=moto)
    there = service.list_objects_v2(Bucket=place.removeprefix("s3://"), Prefix=prefix.partition("/")[0])
    assert [entry["Key"] for entry in there["Contents"]] == [f"{prefix}/file", f"{prefix}/kept"]


@pytest.mark.parametrize("place", ["{folder}", "file://{folder}", "{bucket}"])
def test_of_two_teachers_the_one_that_was_named_is_loaded(place: str, bucket: str, tmp_path: Path) -> None:
    """The other lies where a ``#`` that is cut off would lead."""
    root, mark, query = place.format(folder=tmp_path, bucket=bucket).partition("?")
    wanted = make_teacher(seed=1)
    for folder, teacher in {"t#1": wanted, "t": make_teacher(seed=2)}.items():
        file = io.BytesIO()
        torch.save({"state_dict": teacher.weights}, file)
        store, name = find_object(f"{root}/{folder}/lenet.pt{mark}{query}")
        store.write(name, file.getvalue())
    address = f"{root}/t#1/lenet.pt{mark}{query}"
    of_digits: dict[str, Any] = {"dataset": "digits", "splits": make_splits(measured=0)}
    loaded = published_teacher(address, name="lenet", normalisation="digits", **of_digits)
    named = load_network(f"lenet={address}", storage=StorageConfig(), **of_digits).state_dict()
    for key, value in wanted.weights.items():
        assert torch.equal(loaded.weights[key], value)
        assert torch.equal(named[key], value)
    assert loaded.metadata.source == "lenet.pt"


def test_commands_print_an_address_as_it_can_be_typed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "it's #1 [red]?")
    listed = CliRunner().invoke(app, ["sweeps", "--storage", place])
    assert f"{place}: 0 sweeps" in listed.output
    monkeypatch.setattr("sys.argv", ["/a b/run_sweep.py", "quickstart", "--storage", place])
    assert shlex.split(same_command())[-4:] == ["/a b/run_sweep.py", "quickstart", "--storage", place]


@pytest.mark.parametrize("folder", ["a#1", "a?b", "s3://bucket/t#1"])
def test_the_name_of_a_data_set_is_that_of_its_file(folder: str) -> None:
    config = SupervisedConfig.model_validate({"dataset": f"{folder}/digits.parquet", "student": "lenet"})
    assert (config.dataset, config.dataset_file) == ("digits", f"{folder}/digits.parquet")
