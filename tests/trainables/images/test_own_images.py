"""Images of the user's own: folders, archives and tables in all the forms that people have them in, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from orchestrator.config.images import describe_images
from orchestrator.config.loading import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.inputs.files import load_images
from tests.support.pictures import SIZE, folder_of, picture
from tests.support.tiny import tiny_settings
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import find_normalisation, find_spec
from trainables.config.own_images import file_of_images, name_of_images, split_address, unread_images
from trainables.errors import DataUnavailableError
from trainables.images.own import OwnImages, read_own_images
from trainables.images.parquet import read_dataset_parquet
from trainables.images.pixels import decode


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def read(path: Path, **more: Any) -> OwnImages:
    return read_own_images(path, origin="here", **more)


def shade(pixels: torch.Tensor) -> int:
    """The class that a picture's shade tells."""
    return int(pixels.float().mean()) // 60


def test_one_folder_a_class_is_enough_and_a_fifth_of_each_is_held_out(tmp_path: Path) -> None:
    images = read(folder_of(tmp_path / "pets"))
    assert images.classes == ("cat", "dog", "eel")
    assert images.training.images.shape == (12, 1, *SIZE)
    assert images.test.labels.tolist() == [0, 1, 2]
    for part in (images.training, images.test):
        assert [shade(pixels) for pixels in part.images] == part.labels.tolist()
    assert images.notes == ("20% of each class are held out as test split, as there is none",)
    again = read(tmp_path / "pets")
    assert torch.equal(again.test.images, images.test.images) and again.sha256 == images.sha256


@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        (("train", "test"), (15, 15)),
        (("Train", "val"), (15, 15)),
        (("train", "validation", "test"), (30, 15)),
        (("train",), (12, 3)),
        (("test",), (0, 15)),
    ],
)
def test_folders_of_splits_are_known_by_their_usual_names(
    splits: tuple[str, ...], counts: tuple[int, int], tmp_path: Path
) -> None:
    images = read(folder_of(tmp_path / "pets", splits=splits))
    assert (len(images.training), len(images.test)) == counts


def test_files_that_are_no_images_are_left_out_and_subfolders_looked_into(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "cat" / ".hidden.png").write_bytes(b"no image")
    (folder / "__MACOSX" / "cat").mkdir(parents=True)
    (folder / "__MACOSX" / "cat" / "00.png").write_bytes(b"no image")
    (folder / "README.txt").write_text("pets")
    (folder / "cat" / "kittens").mkdir()
    picture(0, 9).save(folder / "cat" / "kittens" / "a.JPG", "JPEG")
    images = read(folder)
    assert len(images.training) + len(images.test) == 16
    assert images.notes[0] == "left out, no images by their names: 1 of 17 files"


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    for name in ("zebra", ".cache", "zebra2/young"):
        (folder / name).mkdir(parents=True)
    assert read(folder).notes[0] == "left out, folders without images: zebra, zebra2, zebra2/young"


def test_classes_may_be_links_to_folders(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    links = tmp_path / "links"
    links.mkdir()
    for name in ("cat", "eel"):
        (links / name).symlink_to(folder / name)
    assert read(links).classes == ("cat", "eel")


def as_zip(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def as_tar(folder: Path) -> Path:
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "./" + folder.name)
    return path


@pytest.mark.parametrize("pack", [as_zip, as_tar])
@pytest.mark.parametrize("splits", [("",), ("train", "test")])
def test_an_archive_is_read_like_its_folder(
    pack: Callable[[Path], Path], splits: tuple[str, ...], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "pets", splits=splits)
    ours, theirs = read(pack(folder)), read(folder)
    assert ours.classes == theirs.classes
    assert torch.equal(ours.test.images, theirs.test.images) and torch.equal(
        ours.training.labels, theirs.training.labels
    )


def linked_zip(folder: Path, target: str) -> Path:
    """An archive of a folder whose dog/00.png is a link."""
    path = as_zip(folder)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo(f"{folder.name}/dog/09.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, target)
    return path


def linked_tar(folder: Path, target: str) -> Path:
    (folder / "dog" / "09.png").symlink_to(target)
    return as_tar(folder)


def hard_linked_tar(folder: Path, target: str) -> Path:
    if (folder / "dog" / target).is_file():
        (folder / "dog" / "09.png").hardlink_to(folder / "dog" / target)
        return as_tar(folder)
    path = as_tar(folder).with_suffix("").with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
        link = tarfile.TarInfo(f"{folder.name}/dog/09.png")
        link.type, link.linkname = tarfile.LNKTYPE, target
        archive.addfile(link)
    return path


@pytest.mark.parametrize("pack", [linked_zip, linked_tar, hard_linked_tar])
def test_links_of_an_archive_are_followed_within_it(pack: Callable[[Path, str], Path], tmp_path: Path) -> None:
    images = read(pack(folder_of(tmp_path / "pets"), "../dog/00.png"))
    assert len(images.training) + len(images.test) == 16
    for number, target in enumerate(("../../../elsewhere.png", "../dog", "09.png")):
        with pytest.raises(DataUnavailableError, match=r"dog/09.png is a link to a file outside the archive; pack the"):
            read(pack(folder_of(tmp_path / f"{number}" / "pets"), target))


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_of_an_archive_only_images_of_sensible_length_are_unpacked(
    pack: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "pets")
    (folder / "video.mp4").write_bytes(b"0" * 5000)
    monkeypatch.setattr("trainables.images.folders._LARGEST", 2000)
    assert len(read(pack(folder)).test) == 3
    (folder / "cat" / "00.png").write_bytes(b"0" * 5000)
    with pytest.raises(
        DataUnavailableError, match=r"cat/00.png has more than 0 MB in the archive, too much for an image"
    ):
        read(pack(folder))


def test_links_that_lead_back_are_not_followed_for_ever(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    before = read(folder)
    (folder / "cat" / "all").symlink_to(folder)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "back").symlink_to(folder)
    (folder / "dog" / "beside").symlink_to(tmp_path / "beside")
    after = read(folder)
    assert len(after.training) == len(before.training) and after.sha256 == before.sha256


@pytest.mark.parametrize("splits", [("",), ("train", "test")])
def test_splits_below_the_classes_are_refused(splits: tuple[str, ...], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets", splits=splits)
    for split in ("train", "Test"):
        (folder / splits[0] / "dog" / split).mkdir()
        picture(1, 9).save(folder / splits[0] / "dog" / split / "00.png")
    with pytest.raises(DataUnavailableError, match=r"has (train|Test) below the class dog, .*: \1/dog/FILE"):
        read(folder)


def table(**columns: Any) -> pa.Table:
    """Fifteen rows of three classes; what is None is left out."""
    labels = [row % 3 for row in range(15)]
    images = [encoded(picture(label, row)) for row, label in enumerate(labels)]
    usual = {"image": images, "label": labels, "split": ["test" if row > 8 else "train" for row in range(15)]}
    return pa.table({name: values for name, values in {**usual, **columns}.items() if values is not None})


NAMES = ["cat", "dog", "eel"]
LABELS = [row % 3 for row in range(15)]
FILES = [encoded(picture(label, row)) for row, label in enumerate(LABELS)]
PIXELS = [np.asarray(picture(label, row)) for row, label in enumerate(LABELS)]


def hub(columns: dict[str, Any], image: str, label: str) -> pa.Table:
    """A table as the Hub's tools write it."""
    features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": NAMES}, "id": {"dtype": "int64"}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        (table(), ("0", "1", "2")),
        (table(image=[{"bytes": file, "path": "a.png"} for file in FILES]), ("0", "1", "2")),
        (table(image=[pixels.tolist() for pixels in PIXELS]), ("0", "1", "2")),
        (table(image=[pixels[..., None].tolist() for pixels in PIXELS]), ("0", "1", "2")),
        (table(image=pa.array(FILES, pa.large_binary())), ("0", "1", "2")),
        (table(label=[str(label) for label in LABELS]), ("0", "1", "2")),
        (table(label=[float(label) for label in LABELS]), ("0", "1", "2")),
        (table(label=[NAMES[label] for label in LABELS]), ("cat", "dog", "eel")),
        (table(label=pa.array([NAMES[label] for label in LABELS]).dictionary_encode()), ("cat", "dog", "eel")),
        (table(split=["TRAIN" if row < 9 else "Validation" for row in range(15)]), ("0", "1", "2")),
        (hub({"photo": FILES, "fine": LABELS, "split": table()["split"]}, "photo", "fine"), ("cat", "dog", "eel")),
        (hub({"img": FILES, "label": LABELS, "split": table()["split"]}, "img", "label"), ("cat", "dog", "eel")),
    ],
)
def test_tables_are_read_in_the_forms_that_tools_write(
    rows: pa.Table, classes: tuple[str, ...], tmp_path: Path
) -> None:
    pq.write_table(rows, tmp_path / "pets.parquet", row_group_size=4)
    images = read(tmp_path / "pets.parquet")
    assert images.classes == classes
    assert (len(images.training), len(images.test)) == (9, 6)
    assert images.training.labels.tolist() == LABELS[:9] and images.test.labels.tolist() == LABELS[9:]
    assert torch.equal(images.test.images[0, 0], torch.from_numpy(PIXELS[9].copy()))


def test_tables_in_files_named_by_split_belong_together(tmp_path: Path) -> None:
    whole = hub({"image": FILES, "label": LABELS}, "image", "label")
    for name, part in (("train-00000-of-00002", whole[:6]), ("train-00001-of-00002", whole[6:9]), ("test", whole[9:])):
        (tmp_path / "pets" / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(part, tmp_path / "pets" / "data" / f"{name}.parquet")
    images = read(tmp_path / "pets")
    assert images.training.labels.tolist() == LABELS[:9] and images.test.labels.tolist() == LABELS[9:]


def test_what_the_datasets_package_saves_is_read_without_it(tmp_path: Path) -> None:
    whole = hub({"image": [{"bytes": file, "path": None} for file in FILES], "label": LABELS}, "image", "label")
    for name, part in (("train", whole[:9]), ("test", whole[9:])):
        folder = tmp_path / "saved" / name
        folder.mkdir(parents=True)
        with (
            pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
            pa.ipc.new_stream(file, part.schema) as to,
        ):
            to.write_table(part)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    images = read(tmp_path / "saved")
    assert images.classes == ("cat", "dog", "eel") and len(images.test) == 6


@pytest.mark.parametrize("state", [b"{}", b"[]", b"\xff", b'{"_data_files": 3}', b'{"_data_files": [{}]}'])
def test_a_folder_of_images_may_hold_another_programs_state(state: bytes, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    (folder / "cat" / "state.json").write_bytes(state)
    assert read(folder).classes == ("cat", "dog", "eel")


@pytest.mark.parametrize("name", ["../secret.arrow", "/secret.arrow"])
def test_a_saved_table_names_no_files_elsewhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(
        DataUnavailableError, match=f"state.json: _data_files names '{name}', which lies outside of its"
    ):
        read(tmp_path)


def test_names_of_classes_may_look_like_numbers(tmp_path: Path) -> None:
    columns = {"image": FILES, "label": [["30", "2", "1"][label] for label in LABELS]}
    metadata = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": ["30", "2", "1"]}}}})
    pq.write_table(pa.table(columns).replace_schema_metadata({"huggingface": metadata}), tmp_path / "pets.parquet")
    images = read(tmp_path / "pets.parquet")
    assert images.classes == ("30", "2", "1")
    assert [shade(pixels) for pixels in images.test.images] == images.test.labels.tolist()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_images_of_the_usual_kinds_are_decoded(kind: str) -> None:
    assert decode(encoded(picture(0, 0), kind), "here").image.size == SIZE[::-1]


@pytest.mark.parametrize("kind", ["EPS", "PDF", "JPEG2000", "ICO"])
def test_content_does_not_choose_another_decoder(kind: str) -> None:
    with pytest.raises(DataUnavailableError, match="bytes that are neither PNG nor JPEG nor another image of BMP, GIF"):
        decode(encoded(picture(0, 0), kind), "here")


def test_eight_bits_in_thirty_two_are_not_taken_for_sixteen() -> None:
    pixels = np.asarray(picture(1, 0)).astype(np.int32)
    with pytest.raises(DataUnavailableError, match="here: the image has 32 bits for each pixel and no value above 255"):
        decode(encoded(Image.fromarray(pixels), "TIFF"), "here")
    for kind, scaled in (("TIFF", pixels * 257), ("PNG", pixels.astype(np.uint16)), ("PPM", pixels.astype(np.uint16))):
        assert decode(encoded(Image.fromarray(scaled), kind), "here").from_16_bits


def of_16_bits(root: Path) -> None:
    for file in root.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)).astype(np.uint16) * 257).save(file)


def with_alpha(root: Path, value: int = 255) -> None:
    for file in root.rglob("*.png"):
        image = Image.open(file).convert("RGBA")
        image.putalpha(value)
        image.save(file)


def first_in_colour(root: Path) -> None:
    Image.open(root / "cat" / "00.png").convert("RGB").save(root / "cat" / "00.png")


@pytest.mark.parametrize(
    ("change", "channels", "note"),
    [
        (of_16_bits, 1, "rounded from 16 bits to 8: 15 of 15 images"),
        (with_alpha, 3, "alpha channels are left out, since no image is transparent"),
        (lambda root: with_alpha(root, 100), 4, ""),
        (first_in_colour, 3, "grey images converted to colour, as others are coloured: 14 of 15 images"),
    ],
)
def test_all_images_get_the_channels_that_they_share(
    change: Callable[[Path], None], channels: int, note: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "pets")
    before = read(folder)
    change(folder)
    images = read(folder)
    assert images.test.images.shape[1] == channels
    assert torch.equal(images.test.images[:, 0], before.test.images[:, 0])
    assert not note or note in images.notes
    assert images.sha256 != before.sha256
    assert read(folder, channels=1).test.images.shape[1] == 1


def test_images_of_mixed_sizes_need_one_and_are_resized_to_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    picture(1, 3, size=(33, 40)).save(folder / "dog" / "03.png")
    with pytest.raises(
        DataUnavailableError, match=r"dog/03.png has 33x40 pixels .* cat/00.png 20x16; set image_size, to"
    ):
        read(folder)
    assert read(folder, image_size="24x18").training.images.shape[2:] == (24, 18)


def broken(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: broken(f, "cat/01.png", b"hello"), "here, cat/01.png: 5 bytes that are neither PNG nor JPEG"),
        (lambda f: broken(f, "cat/01.png", encoded(picture(0, 0))[:60]), "here, cat/01.png: the image is damaged"),
        (
            lambda f: broken(f, "01.png", encoded(picture(0, 0))),
            "01.png is not in the folder of a class; expected is one",
        ),
        (lambda f: folder_of(f / "train"), "has train, a split, and cat, a class, in one folder"),
        (
            lambda f: picture(0, 0, mode="RGBA").save(f / "cat" / "00.png"),
            "00.png is transparent in places and .*set channels=3",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line_with_the_file(
    change: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    change(folder_of(tmp_path / "pets"))
    with pytest.raises(DataUnavailableError, match=reason) as caught:
        read(tmp_path / "pets")
    assert "\n" not in str(caught.value)


def test_other_things_are_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    only = folder_of(tmp_path / "only", classes=("cat",))
    large = folder_of(tmp_path / "large", each=1, size=(300, 300))
    uneven = folder_of(folder_of(tmp_path / "uneven", splits=("train", "test")), splits=("test",), classes=("Dog",))
    for path, reason in (
        (tmp_path / "empty", "has no images; expected is one folder per class"),
        (tmp_path / "nowhere", "there is no such folder or file"),
        (tmp_path / "bad.zip", "cannot be read as a zip or tar archive"),
        (only, "has one class only, cat; at least two"),
        (large, "image size '300x300'; allowed: sides from 16 to 224 pixels; set image_size"),
        (uneven, r"has no training image of class Dog \(number 0\)"),
    ):
        with pytest.raises(DataUnavailableError, match=reason):
            read(path)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"label": [None, *LABELS[1:]]}, "here, row 0 has no label"),
        ({"label": [*LABELS[:14], -1]}, r"here, row 14 has no label \(it is -1\)"),
        ({"label": [label + 1 for label in LABELS]}, r"no training image of class 0 \(number 0\).*count from 0"),
        ({"label": [0.5, *LABELS[1:]]}, "row 0 has label 0.5; expected are whole numbers from 0, or names"),
        ({"label": [0] * 15}, "has one class only, 0"),
        ({"image": [*FILES[:7], None, *FILES[8:]]}, "here, row 7 has no image"),
        ({"image": [b"raw" * 10, *FILES[1:]]}, "here, row 0: 30 bytes that are neither PNG nor JPEG"),
        ({"image": [[0.5] * 20] * 15}, "row 0: the image is neither bytes nor lists .* of whole numbers"),
        ({"image": [[1] * 320] * 15}, r"row 0: the image is a list of shape \(320,\); expected are rows of pixels"),
        ({"split": ["left"] * 15}, "row 0 has split 'left'; expected are train, validation and test"),
        ({"image": None}, "has no column image; expected are image"),
        ({"label": None}, "has no column label; expected are image"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line_with_the_row(
    columns: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    pq.write_table(table(**columns), tmp_path / "pets.parquet")
    with pytest.raises(DataUnavailableError, match=reason) as caught:
        read(tmp_path / "pets.parquet")
    assert "\n" not in str(caught.value)


def test_a_named_table_takes_the_same_forms_and_no_names_of_classes(tmp_path: Path) -> None:
    bare = [np.full((28, 28), row, dtype=np.uint8) for row in range(15)]
    usual = table(image=[{"bytes": encoded(Image.fromarray(pixels)), "path": None} for pixels in bare])
    pq.write_table(usual, tmp_path / "digits.parquet")
    training, test = read_dataset_parquet(tmp_path / "digits.parquet", find_spec("digits"), origin="here")
    assert training[0].shape == (9, 28, 28) and test[1].tolist() == LABELS[9:]
    flat = table(image=[pixels.ravel().tolist() for pixels in bare])
    pq.write_table(flat, tmp_path / "digits.parquet")
    again, _ = read_dataset_parquet(tmp_path / "digits.parquet", find_spec("digits"), origin="here")
    assert np.array_equal(again[0], training[0])
    pq.write_table(table(label=[NAMES[label] for label in LABELS]), tmp_path / "digits.parquet")
    with pytest.raises(DataUnavailableError, match="row 0 has label 'cat'; expected are 0 to 9"):
        read_dataset_parquet(tmp_path / "digits.parquet", find_spec("digits"), origin="here")


@pytest.mark.parametrize(
    ("dataset", "file", "name"),
    [
        ("data/pets/", "data/pets", "pets"),
        ("./digits", "./digits", "digits-images"),
        ("~/my pets (new).zip", "~/my pets (new).zip", "my-pets-new"),
        ("s3://bucket/pets.tar.gz?region=x", "s3://bucket/pets.tar.gz?region=x", "pets"),
        ("pets.parquet", "pets.parquet", "pets"),
        ("digits", None, ""),
        ("none", None, ""),
        ("no_such_folder", None, ""),
        ("s3://bucket/pets", None, ""),
    ],
)
def test_an_address_is_told_from_a_name(dataset: str, file: str | None, name: str) -> None:
    assert file_of_images(dataset) == file
    if file is not None:
        assert name_of_images(file) == name
        assert split_address({"dataset": dataset}) == {"dataset": name, "dataset_file": file}
        assert unread_images({"dataset": dataset}) == file


def described(folder: Path, **trial: Any) -> dict[str, Any]:
    return describe_images({**tiny_settings(), "dataset": str(folder), **trial}, origin="test")


def test_a_config_is_complete_without_the_images(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    config = ZeroShotConfig.model_validate(described(folder, validation_fraction=0.3))
    assert (config.dataset, config.dataset_file) == ("pets", str(folder))
    assert (config.spec.image_shape, config.spec.num_classes) == ((1, *SIZE), 3)
    assert (config.spec.training_images, config.spec.test_images) == (12, 3)
    images = read(folder).training.images.double() / 255
    moments = find_normalisation(str(config.normalisation))
    assert moments.mean[0] == pytest.approx(float(images.mean()), abs=1e-4)
    assert moments.std[0] == pytest.approx(float(images.std(correction=0)), abs=1e-4)
    assert ZeroShotConfig.model_validate_json(config.model_dump_json()) == config
    assert config.splits_key != ZeroShotConfig.model_validate(tiny_settings()).splits_key
    splits = load_images(config, "nowhere")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [9, 3, 3]
    picture(1, 77).save(folder / "dog" / "00.png")
    assert described(folder)["dataset_sha256"] != config.dataset_sha256
    with pytest.raises(DataUnavailableError, match="the images have changed since the sweep began"):
        load_images(config, "nowhere")


def test_a_sweep_says_what_its_images_are_and_what_was_done(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    said: list[str] = []
    assignments = [f"dataset={folder}", "image_size=32"]
    sweep = load_sweep("quickstart", assignments=assignments, say=said.append)
    assert f"dataset {folder}: 12 training and 3 test images of 3 classes (cat, dog, eel), 32x32, grey" in said
    assert sweep.trial["dataset"] == "pets" and sweep.trial["image_size"] == "32x32"
    assert sweep.default_sweep_id == load_sweep("quickstart", assignments=assignments).default_sweep_id
    again = [f"{field}={value}" for field, value in sweep.trial.items() if field != "validation_fraction"]
    assert load_sweep("quickstart", assignments=again).trial == sweep.trial, "as the command of a rerun says it"
    picture(2, 77).save(folder / "eel" / "00.png")
    assert sweep.default_sweep_id != load_sweep("quickstart", assignments=assignments).default_sweep_id
    with pytest.raises(ConfigError, match="num_classes=10: the images of .* have 3; leave it out"):
        load_sweep("quickstart", assignments=[*assignments, "num_classes=10"])
    with pytest.raises(ConfigError, match="normalisation must be given where pets are images of your own"):
        load_sweep("quickstart", assignments=[*assignments, "teacher_checkpoint=lenet.pt"])
    with pytest.raises(ConfigError, match="channels=5: allowed are 1 .grey."):
        load_sweep("quickstart", assignments=[*assignments, "channels=5"])
    with pytest.raises(ConfigError, match="nowhere/pets.zip: there is no such folder or file"):
        load_sweep("quickstart", assignments=["dataset=nowhere/pets.zip"])
    with pytest.raises(ConfigError, match="dataset s3://bucket/pets.zip is not on this machine"):
        load_sweep("quickstart", assignments=["dataset=s3://bucket/pets.zip"])


def test_the_teacher_that_nobody_names_may_come_from_a_file_too(tmp_path: Path) -> None:
    trial = {"dataset": str(folder_of(tmp_path / "pets"))}
    assert "normalisation" not in describe_images(trial, origin="test", teachers={"wrn-40-2": "x.pt"})
    assert "normalisation" in describe_images(trial, origin="test", teachers={"wrn-16-1": "x.pt"})


def test_without_training_images_a_teacher_comes_from_a_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets", splits=("test",))
    assignments = [f"dataset={folder}", "normalisation=half"]
    with pytest.raises(ConfigError, match="dataset=pets has no images to train lenet on: name the teacher's file"):
        load_sweep("quickstart", assignments=assignments, flags={"objective": "data_free_score"})
    assignments.append("teacher_checkpoint=lenet.pt")
    with pytest.raises(ConfigError, match="validation_accuracy needs images beside the test images, and pets has none"):
        load_sweep("quickstart", assignments=assignments)
    sweep = load_sweep("quickstart", assignments=assignments, flags={"objective": "data_free_score"})
    splits = load_images(sweep.configs()[0], "nowhere")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [0, 0, 15]


NO_IMAGES = ["dataset=none", "num_classes=3", "channels=1", "image_size=20x16", "normalisation=half"]


def test_without_images_the_search_goes_by_the_score_and_nothing_is_audited() -> None:
    said: list[str] = []
    sweep = load_sweep("quickstart", assignments=[*NO_IMAGES, "teacher_checkpoint=lenet.pt"], say=said.append)
    assert sweep.objective == "data_free_score"
    assert "dataset=none: validation_accuracy needs images; the search optimises data_free_score instead" in said
    config = sweep.configs()[0]
    assert not config.reads_images and config.is_scored
    assert config.spec.image_shape == (1, *SIZE)
    assert ZeroShotConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (["dataset=none"], "must be given; missing: num_classes, channels, image_size, normalisation"),
        (NO_IMAGES[:4], "missing: normalisation"),
        (NO_IMAGES, "dataset=none has no images to train lenet on: name the teacher's file with teacher_checkpoint"),
        ([*NO_IMAGES, "audited=true"], "audited=true: dataset=none has no images to be measured on"),
        ([*NO_IMAGES, "test_images=3"], "test_images=3: dataset=none has no images; leave it out"),
        (["num_classes=3"], "num_classes=3: digits is a named data set, which determines it; leave it out"),
        (["channels=5"], "channels.*<= 4"),
    ],
)
def test_what_is_said_of_images_that_are_not_there_is_checked(assignments: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_sweep("quickstart", assignments=assignments)


@pytest.mark.parametrize(
    ("given", "stored"),
    [("0.5:0.25", "0.5:0.25"), ({"mean": [0.5, 0.4, 0.3], "std": [1, 1, 1]}, "0.5,0.4,0.3:1,1,1"), ("half", "half")],
)
def test_a_normalisation_may_be_numbers(given: object, stored: str) -> None:
    config = SupervisedConfig.model_validate({"normalisation": given})
    assert config.normalisation == stored
    assert find_normalisation(stored).std[0] > 0


@pytest.mark.parametrize("given", ["0.5:0", "0.5,0.5:1", "0.5:nan", "0.5", "0.5,0.5:1,1", "half:1"])
def test_other_numbers_are_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="normalisation"):
        SupervisedConfig.model_validate({"normalisation": given})
