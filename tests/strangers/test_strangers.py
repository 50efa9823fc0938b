"""People who have read the docs and nothing else bring a teacher, a network or images of their own, and students learn.

Each trains for real, in processes of their own, by the commands that docs/sweeps.md and docs/own-images.md name. Students
must be right more often than who guesses, with less than one chance in a hundred that this is luck, on 600 photographs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ray.cluster_utils import Cluster

from orchestrator.results import SweepResults, TrialRecord
from orchestrator.storage import SweepStore, find_storage
from tests.support.people import NETS, chance_of, lay_out, photos, right, some, train
from trainables.config.plugins import load_from_file
from trainables.storage.students import StudentStore

SHORT = {"batch_size": 64, "generator_width": 16, "total_pseudo_batches": 40, "evaluation_interval": 20}
"""Of the settings that a file by ``zskt init`` leaves as published: what ends within a minute."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which somebody works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plain_teacher(home: Path) -> Path:
    """A teacher of 28 x 28 pixels by a file of one's own, saved as training codes do."""
    (home / "nets.py").write_text(NETS)
    torch.manual_seed(0)
    network = load_from_file("network", f"{home}/nets.py:make_teacher")(num_classes=10, channels=1)
    learnt, held = photos()
    train(network, some(learnt, 1500), channels=1, epochs=3, optimizer=torch.optim.Adam(network.parameters(), lr=2e-3))
    assert right(network, held, channels=1) > 480
    torch.save({"model": network.state_dict(), "epoch": 3}, home / "teacher.pt")
    return home / "teacher.pt"


def zskt(*arguments: str, ends_with: int = 0) -> str:
    """What a command says, as somebody types it."""
    command = [str(Path(sys.executable).parent / "zskt"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == ends_with, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def sweep(*arguments: str, backend: tuple[str, ...] = ("--backend", "inline"), **fields: Any) -> list[TrialRecord]:
    """Run one trial with some fields fixed, and return the rows of all that ran."""
    settings = [word for field, value in (SHORT | fields).items() for word in ("--set", f"{field}={value}")]
    zskt("sweep", *arguments, *settings, *backend, "--sweep-id", "mine", "--storage", "runs")
    return SweepResults(SweepStore(find_storage("runs"), "mine")).trials()


def assert_learnt(accuracy: float | None, images: int = 600) -> None:
    assert accuracy is not None and images >= 500
    assert chance_of(round(accuracy * images), images) < 0.01


def test_a_torchvision_resnet_of_64_pixels(home: Path) -> None:
    from torchvision.models import resnet18  # a second for every other test

    learnt, held = (part.of_size(64, 64) for part in photos())
    lay_out(home / "photos", learnt, held, mode="RGB")
    torch.manual_seed(0)
    network = resnet18(num_classes=10)
    sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    train(network, some(learnt, 1500), channels=3, epochs=2, optimizer=sgd)
    correct = right(network, held, channels=3)
    torch.save(network.state_dict(), "resnet.pt")

    named = ("--network", "torchvision:resnet18", "--dataset", "photos")
    told = zskt("inspect", "resnet.pt", *named)
    assert "64x64" in told and f"{correct / 600:.2%}" in told and "taken: half" in told
    zskt("init", "resnet.pt", *named, "--output", "mine.yaml")
    (row,) = sweep("mine.yaml", "--num-trials", "1", student="lenet", attention_weight=0, batch_size=32)
    assert row.config.spec.image_size == (64, 64)
    assert_learnt(row.metrics["test_accuracy"])


def test_a_timm_network_as_the_student(home: Path, plain_teacher: Path) -> None:
    lay_out(home / "photos", *photos(), mode="L")
    zskt("init", "teacher.pt", "--network", "nets.py:make_teacher", "--dataset", "photos", "--output", "mine.yaml")
    (row,) = sweep("mine.yaml", "--num-trials", "1", student="timm:test_nfnet", attention_weight=0)
    assert_learnt(row.metrics["test_accuracy"])


def test_a_plain_module_of_28_pixels(home: Path, plain_teacher: Path) -> None:
    lay_out(home / "photos", *photos(), mode="L")
    named = ("--network", "nets.py:make_teacher", "--dataset", "photos")
    told = zskt("inspect", "teacher.pt", *named)
    assert "28x28" in told and "model" in told and "taken: half" in told
    zskt("init", "teacher.pt", *named, "--output", "mine.yaml")
    (row,) = sweep("mine.yaml", "--num-trials", "1", student="nets.py:Student")  # attention compares its own layers
    assert_learnt(row.metrics["test_accuracy"])
    assert row.config.spec.image_size == (28, 28) and row.settings["attention_weight"] > 0


def test_a_grey_folder_of_48_by_40_pixels(home: Path) -> None:
    lay_out(home / "photos", *(part.of_size(48, 40) for part in photos()), mode="L", count=1200)
    fields = {"dataset": "photos", "teacher": "lenet", "student": "lenet"}
    (home / "mine.yaml").write_text(
        yaml.safe_dump({"name": "mine", "trial": fields, "teacher_recipe": {"full_data_epochs": 12, "batch_size": 64}})
    )
    (row,) = sweep("mine.yaml")
    assert row.config.spec.image_shape == (1, 48, 40) and row.config.spec.test_images == 600
    assert_learnt(row.metrics["test_accuracy"])


def test_a_teacher_without_any_image(home: Path, plain_teacher: Path) -> None:
    zskt(
        *("init", "teacher.pt", "--network", "nets.py:make_teacher", "--image-size", "28", "--normalisation", "half"),
        *("--output", "mine.yaml"),
    )
    rows = sweep("mine.yaml", "--num-trials", "2", student="nets.py:Student")
    assert [row.metrics["test_accuracy"] for row in rows] == [None, None]
    best = max(rows, key=lambda row: row.metrics["data_free_score"])
    told = zskt("report", "mine", "--storage", "runs") + Path("runs/reports/mine/index.html").read_text()
    assert "No labelled image was read" in told
    # For this test's eyes only.
    student = load_from_file("network", f"{home}/nets.py:Student")(num_classes=10, channels=1)
    weights = StudentStore(find_storage("runs").below("students")).load(f"mine/{best.trial_id}")
    student.load_state_dict(
        {
            name.removeprefix(
                "body.",
            ): value
            for name, value in weights.items()
        }
    )
    _, held = photos()
    assert_learnt(right(student.eval(), held, channels=1) / 600)


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """A head that takes no trials, and two nodes for one trial each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.own_processes
def test_a_pair_of_a_file_on_two_nodes(home: Path, two_nodes: Cluster) -> None:
    (home / "nodes").mkdir()
    note = (
        "\n\nimport ray\nfrom pathlib import Path\n\n"
        "if ray.is_initialized():\n"
        f"    Path({str(home / 'nodes')!r}, ray.get_runtime_context().get_node_id()).touch()\n"
    )
    (home / "nets.py").write_text(NETS + note)
    fields = {"dataset": "digits", "image_size": 28, "teacher": "nets.py:make_teacher", "student": "nets.py:Student"}
    content = {"name": "mine", "trial": fields, "teacher_recipe": {"full_data_epochs": 4, "batch_size": 64}}
    (home / "mine.yaml").write_text(yaml.safe_dump(content))
    search = ("mine.yaml", "--search", "temperature=1:4", "--cpus", "1")
    assert len(sweep(*search, "--num-trials", "1")) == 1
    # These nodes see this machine's disk, and work in the driver's folder. So the file must be nowhere: it goes from the
    # driver, who trusts the storage's copy, to the training of the teacher and to the trials, or they cannot have it.
    (home / "nets.py").unlink()
    shutil.rmtree(home / "runs" / "teachers")
    trusted = ("--trust-code", hashlib.sha256((NETS + note).encode()).hexdigest())
    rows = sweep(*search, "--num-trials", "3", *trusted, backend=("--address", two_nodes.address))
    assert len(rows) == 3 and len(list((home / "nodes").iterdir())) == 2
    for row in rows:
        assert_learnt(row.metrics["test_accuracy"], images=1000)
