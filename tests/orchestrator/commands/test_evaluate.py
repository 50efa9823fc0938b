"""``zskt evaluate`` on small networks, from files and from a storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands.evaluate import load_network, named_images, noise_counts, transition_page
from orchestrator.config.blocks import StorageConfig
from orchestrator.config.images import describe_images
from orchestrator.errors import ConfigError
from orchestrator.storage import find_storage, layout
from tests.support.case_sweeps import write
from tests.support.pictures import folder_of
from tests.support.tiny import make_bucket, make_images, tiny_settings
from tests.support.trials import run
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import Normalisation, find_normalisation, find_spec
from trainables.errors import TeacherError
from trainables.images.load import load_dataset
from trainables.images.parquet import dataset_parquet
from trainables.images.splits import DatasetSplits
from trainables.networks import build_network
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.students import StudentStore
from trainables.training.supervised import SupervisedTrainer
from trainables.trial import TrialStorage


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet that knows digits, as a published file."""
    config = SupervisedConfig(
        dataset="digits", student="lenet", full_data_epochs=2, learning_rate=0.05, batch_size=32, evaluation_interval=2
    )
    trainer = SupervisedTrainer(config, splits=load_dataset("digits", data_root=Path("none"), validation_fraction=0))
    trainer.advance()
    path = tmp_path_factory.mktemp("networks") / "lenet.pt"
    torch.save({"state_dict": trainer.student.state_dict()}, path)
    return path


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with a completed zero-shot trial that has curves."""
    place = find_storage(str(tmp_path))
    trial_storage = TrialStorage(
        sweep_id="sweep-a",
        checkpoints=CheckpointStore(place.below(layout.checkpoint_folder("sweep-a"))),
        students=StudentStore(place.below(layout.STUDENTS)),
        curves=place.below(layout.sweep_folder("transition_curves", "sweep-a")),
    )
    config = ZeroShotConfig.model_validate(tiny_settings(transition_images=2))
    run(config, trial_storage)
    write(place, "sweep-a", 0, config, case="a")
    return tmp_path


def zskt(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_transitions_between_a_kept_student_and_a_file(network: Path, storage: Path, tmp_path: Path) -> None:
    page = tmp_path / "curves.html"
    settings = ["--dataset", "digits", "--images", 3, "--steps", 4, "--storage", storage, "--output", page]
    out = zskt("transitions", f"lenet={network}", f"lenet={network}", *settings)
    assert "mean transition error 0.0000" in out  # a network beside itself
    assert "over 3 images" in out
    assert "plotly" in page.read_text()
    other = zskt("transitions", "sweep-a/t0000", f"lenet={network}", *settings)
    assert "mean transition error 0.0000" not in other


def test_networks_may_lie_in_a_bucket(moto: str, tmp_path: Path) -> None:
    bucket, _, query = make_bucket(moto).partition("?")
    weights = build_network("lenet", num_classes=10, channels=1).state_dict()
    torch.save(weights, tmp_path / "lenet.pt")
    find_storage(f"{bucket}?{query}").write("ours/lenet.pt", (tmp_path / "lenet.pt").read_bytes())
    storage, images = StorageConfig(), DatasetSplits.without_images(find_spec("digits"))
    loaded = load_network(f"lenet={bucket}/ours/lenet.pt?{query}", "digits", storage, images)
    assert all(torch.equal(weights[name], value) for name, value in loaded.state_dict().items())
    with pytest.raises(TeacherError, match=r"s3://bucket-\w+/ours/other.pt: there is no such file$"):
        load_network(f"lenet={bucket}/ours/other.pt?{query}", "digits", storage, images)


def test_images_may_be_named_by_the_address_of_their_file(tmp_path: Path) -> None:
    pixels = make_images(4)
    file = dataset_parquet(dict.fromkeys(("train", "test"), (pixels.images, pixels.labels)), name="digits")
    (tmp_path / "digits.parquet").write_bytes(file)
    name, splits = named_images(str(tmp_path / "digits.parquet"), "none")
    assert (name, len(splits.train), len(splits.validation)) == ("digits", 4, 0)
    assert torch.equal(splits.test.images, pixels.images)


def test_images_of_the_users_own_need_the_networks_normalisation(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "pets")
    torch.save(build_network("lenet", num_classes=3, channels=1, image_size=(20, 16)).state_dict(), tmp_path / "a.pt")
    given = ["noise", f"lenet={tmp_path / 'a.pt'}", "--dataset", folder]
    assert "images of your own need --normalisation" in zskt(*given, code=2).replace("\n", " ")
    # Weights that know nothing are no teacher's, which is said of these images once they are looked at.
    printed = zskt(*given, "--normalisation", "0.4:0.2", code=1).replace("\n", " ")
    assert "test accuracy on pets with normalisation=0.4:0.2" in printed
    assert "dataset=none: without images" in zskt(*given[:3], "none", code=2).replace("\n", " ")


def test_a_student_of_other_images_of_the_same_name_is_refused(tmp_path: Path) -> None:
    network = build_network("lenet", num_classes=3, channels=1, image_size=(20, 16))
    folder = folder_of(tmp_path / "pets")
    given = {**tiny_settings(student="lenet"), "dataset": str(folder), "normalisation": "half"}
    config = ZeroShotConfig.model_validate(describe_images(given, origin="test"))
    store = find_storage(str(tmp_path / "runs"))
    StudentStore(store.below(layout.STUDENTS)).save("sweep-a/t0000", network.state_dict(), config.model_dump_json())
    storage = StorageConfig(uri=str(tmp_path / "runs"))

    def measured_on(place: Path) -> None:
        name, splits = named_images(str(place), "none", normalisation="half")
        load_network("sweep-a/t0000", name, storage, splits, normalisation="half")

    measured_on(folder)
    with pytest.raises(ConfigError, match="other images, which are also called pets, with num_classes=3 and not 2"):
        measured_on(folder_of(tmp_path / "fewer" / "pets", classes=("cat", "dog")))
    with pytest.raises(ConfigError, match="with channels=1 and not 3"):
        measured_on(folder_of(tmp_path / "coloured" / "pets", mode="RGB"))
    with pytest.raises(ConfigError, match="with dataset_sha256=.* and not .*: measure it on the images"):
        measured_on(folder_of(tmp_path / "more" / "pets", each=6))


def test_networks_are_measured_under_their_own_data_sets_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    # MNIST and Fashion-MNIST have the same shapes, sizes and classes: nothing but the name tells them apart.
    seen: list[Normalisation] = []
    network = build_network("lenet", num_classes=10, channels=1)

    def noted(network: object, normalisation: Normalisation, **_: object) -> torch.Tensor:
        seen.append(normalisation)
        return torch.zeros(10, dtype=torch.int64)

    monkeypatch.setattr("orchestrator.commands.evaluate.noise_predictions", noted)
    for dataset in ("mnist", "fashion_mnist"):
        noise_counts(network, dataset, find_spec(dataset).shapes, 5)
    assert seen == [find_normalisation("mnist"), find_normalisation("fashion_mnist")]
    seen.clear()

    def noted_curves(attacked: object, other: object, data: object, normalisation: Normalisation, **_: object) -> None:
        seen.append(normalisation)
        raise ValueError("far enough")

    monkeypatch.setattr("orchestrator.commands.evaluate.transition_curves", noted_curves)
    with pytest.raises(ConfigError, match="far enough"):
        transition_page(
            network, network, "fashion_mnist", make_images(2), images=1, steps=1, step_size=1.0, by_label=True
        )
    assert seen == [find_normalisation("fashion_mnist")]


def test_curves_that_a_sweep_kept_are_drawn(storage: Path, tmp_path: Path) -> None:
    page = tmp_path / "kept.html"
    zskt("curves", "sweep-a", "--storage", storage, "--output", page)
    assert "a, seed 0" in page.read_text()
    assert "no trial of sweep-b" in zskt("curves", "sweep-b", "--storage", storage, code=1)


def test_noise_is_counted_by_class(network: Path) -> None:
    out = zskt("noise", f"lenet={network}", "--dataset", "digits", "--images", 50)
    counts = [int(word) for word in out.splitlines()[-1].split()[-10:]]
    assert sum(counts) == 50


def test_pseudo_images_of_a_trial_are_drawn(storage: Path, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    out = zskt("images", "sweep-a/t0000", "--storage", storage, "--output", picture)
    assert "after 4 pseudo batches" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images", "sweep-a/t0009"], "no checkpoint of a zero-shot trial"),
        (["images", "sweep-a"], "expected SWEEP/TRIAL"),
        (["noise", "lenet", "--dataset", "digits"], "expected NETWORK=FILE"),
        (["noise", "lenet=a.pt", "--dataset", "imagenet"], "unknown data set 'imagenet'; known: cifar10"),
        (["noise", "sweep-a/t0007", "--dataset", "digits"], "there is no student sweep-a/t0007"),
        (["noise", "lenet=missing.pt", "--dataset", "digits"], "there is no such file"),
        (["noise", "lenet=s3://id:secret@b/a.pt", "--dataset", "digits"], "error: address: the address holds a key"),
        (["transitions", "a/b", "a/b", "--targets", "all"], "--targets all: allowed are label and prediction"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str, storage: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--storage", str(storage)])
    assert result.exit_code in {1, 2}
    assert message in " ".join(result.output.split())
