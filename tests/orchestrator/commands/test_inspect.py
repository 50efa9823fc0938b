"""``zskt inspect`` and ``zskt init``: a teacher's file becomes a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.config.loading import load_sweep
from tests.support.tiny import make_splits
from trainables.config.datasets import Normalisation
from trainables.evaluation import calibration_error
from trainables.images.splits import ImageSet
from trainables.networks import Network, build_network
from trainables.teachers.recognition import recognise
from trainables.teachers.weight_files import WeightFile

LENET: dict[str, Any] = {"num_classes": 10, "channels": 1}


def saved(path: Path, network: nn.Module, *keys: str) -> str:
    """Write a network's weights, under some keys."""
    content: Any = network.state_dict()
    for key in reversed(keys):
        content = {key: content}
    torch.save(content, path)
    return str(path)


def zskt(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("lenet", {"num_classes": 10, "channels": 1, "image_size": (32, 32)}),
        ("lenet", {"num_classes": 7, "channels": 3, "image_size": (28, 28)}),
        ("lenet-bn", {"num_classes": 10, "channels": 1, "image_size": (32, 32)}),
        ("resnet-18", {"num_classes": 10, "channels": 3, "image_size": (32, 32)}),
        ("resnet-34", {"num_classes": 100, "channels": 1, "image_size": (32, 32)}),
        ("wrn-16-1", {"num_classes": 10, "channels": 3, "image_size": (32, 32)}),
        ("wrn-40-2", {"num_classes": 5, "channels": 3, "image_size": (32, 32)}),
    ],
)
def test_a_network_of_this_project_is_known_by_its_weights(name: str, shapes: dict[str, Any]) -> None:
    tensors = {f"model.module.{key}": value for key, value in build_network(name, **shapes).state_dict().items()}
    found = recognise(WeightFile(tensors=tensors, pickled=(), type_name="dict"))
    assert found is not None
    assert (found.name, found.shapes["num_classes"], found.shapes["channels"]) == (
        name,
        shapes["num_classes"],
        shapes["channels"],
    )
    assert found.shapes["image_size"] == shapes["image_size"]


def test_another_network_is_not_taken_for_one() -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(64, 10)).state_dict()
    assert recognise(WeightFile(tensors=other, pickled=(), type_name="dict")) is None
    assert recognise(WeightFile(tensors={}, pickled=(), type_name="dict")) is None


class _Sure(Network):
    """Says class 0 of every image, with one confidence."""

    def __init__(self, confidence: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(confidence / (1 - confidence)).log())

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits = torch.zeros(len(images), 2)
        logits[:, 0] = self.logit
        return logits, []


@pytest.mark.parametrize(("confidence", "right", "error"), [(0.9, 90, 0.0), (0.9, 60, 0.3), (0.6, 80, 0.2)])
def test_calibration_is_how_far_confidence_is_from_accuracy(confidence: float, right: int, error: float) -> None:
    labels = torch.ones(100, dtype=torch.int64)
    labels[:right] = 0
    data = ImageSet(images=torch.zeros(100, 1, 16, 16, dtype=torch.uint8), labels=labels)
    measured = calibration_error(_Sure(confidence), data, Normalisation(mean=(0.0,), std=(1.0,)))
    assert measured == pytest.approx(error, abs=1e-6)


def test_a_file_alone_becomes_a_sweep_once_its_normalisation_is_said(tmp_path: Path) -> None:
    file = saved(tmp_path / "teacher.pt", build_network("wrn-10-1", **LENET), "model_state_dict")
    code, output = zskt("inspect", file)
    assert code == 0, output
    assert "wrn-10-1" in output and "weights under model_state_dict." in output
    assert "# normalisation: half  # required" in output and "On this machine the sweep would take" not in output
    code, output = zskt("inspect", file, "--normalisation", "half")
    assert code == 0 and "On this machine the sweep would take" in output, output
    written = tmp_path / "mine.yaml"
    code, output = zskt("init", file, "--normalisation", "half", "--output", str(written))
    assert code == 0, output
    sweep = load_sweep(str(written))
    [config] = sweep.configs()
    assert (config.dataset, config.teacher, config.normalisation) == ("none", "wrn-10-1", "half")
    assert sweep.objective == "data_free_score" and config.teacher_checkpoint == file
    code, output = zskt("init", file, "--output", str(written))
    assert code == 2 and "exists already" in output


def test_a_network_by_others_needs_a_name(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n"
        "def make(num_classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), "
        "nn.Linear(32, num_classes))\n"
    )
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6))
    file = saved(tmp_path / "teacher.pt", made)
    code, output = zskt("inspect", file)
    assert code == 2 and "name the network with --network" in output and "6 classes and 3 channels" in output
    code, output = zskt("inspect", file, "--network", f"{tmp_path}/nets.py:make", "--normalisation", "unit")
    assert code == 0, output
    block = yaml.safe_load(output[output.index("# A sweep") : output.index("On this machine the sweep would take")])
    assert block["trial"]["num_classes"] == 6 and block["trial"]["attention_weight"] == 0


def test_weights_that_are_not_finite_are_named_and_not_measured(tmp_path: Path) -> None:
    network = build_network("lenet", **LENET)
    network.get_parameter("fc1.bias").data[3] = torch.nan
    code, output = zskt("inspect", saved(tmp_path / "teacher.pt", network), "--normalisation", "unit")
    assert code == 0 and "1 of the 120 numbers in fc1.bias are NaN or infinite" in output


@pytest.mark.parametrize("text", ["", "<!DOCTYPE html><html></html>"])
def test_what_holds_no_weights_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_text(text)
    code, output = zskt("inspect", str(tmp_path / "teacher.pt"))
    assert code != 0 and str(tmp_path / "teacher.pt") in output.replace("\n", "")
    code, output = zskt("inspect", str(tmp_path / "gone.pt"))
    assert code != 0 and "there is no such file" in output


def test_images_tell_which_normalisation_fits_and_none_is_recommended_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = make_splits("digits", train=10)
    monkeypatch.setattr("orchestrator.commands.evaluate.load_images", lambda config, data_root: splits)
    file = saved(tmp_path / "teacher.pt", build_network("lenet", **LENET))
    code, output = zskt("inspect", file, "--dataset", "digits")
    assert code == 0, output
    assert "none fits" in output and "test accuracy" not in output and "# normalisation" in output
