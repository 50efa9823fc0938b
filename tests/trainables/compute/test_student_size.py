"""How large and how fast a student is, as metrics that a search may weigh against accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.config import SweepConfig
from tests.support.tiny import make_distiller, tiny_settings
from trainables.compute.work import network_work
from trainables.config import ZeroShotConfig
from trainables.networks import build_network
from trainables.system import own_files

SELECTED: list[dict[str, Any]] = [
    {"objective": "student_latency", "mode": "min"},
    {"further_objectives": {"student_latency_128": "min"}, "sampler": {"name": "nsgaii"}},
    {"constraints": {"student_latency": {"at_most": 0.1}}},
]


@pytest.mark.parametrize("name", ["lenet", "wrn-10-1"])
def test_a_students_numbers_and_operations_are_reported(name: str) -> None:
    report = make_distiller(student=name, attention_weight=0.0).advance()
    network = build_network(name, num_classes=10, channels=1)
    assert report["student_parameters"] == sum(weight.numel() for weight in network.parameters())
    assert report["student_flops"] == network_work(name, num_classes=10, channels=1).flops > 0
    assert report["student_latency"] is report["student_latency_128"] is None


def test_a_timed_student_is_slower_on_more_images_and_learns_the_same() -> None:
    plain, timed = (make_distiller(student_timed=asked, student="lenet") for asked in (False, True))
    plain.advance()
    report = timed.advance()
    one, many = report["student_latency"], report["student_latency_128"]
    assert one is not None and many is not None
    assert 0 < one < many
    assert all(torch.equal(value, timed.student.state_dict()[key]) for key, value in plain.student.state_dict().items())
    assert timed.advance()["student_latency"] == one  # the machine is not asked again


@pytest.mark.parametrize("selected", SELECTED, ids=lambda selected: next(iter(selected)))
def test_a_sweep_that_selects_on_it_times_its_students(selected: dict[str, Any]) -> None:
    sweep = {"name": "a", "trial": tiny_settings(), "space": {"student_steps": {"type": "int", "low": 1, "high": 2}}}
    config = SweepConfig.model_validate({**sweep, **selected}).configs()[0]
    assert config.student_timed
    with pytest.raises(ValueError, match=r"needs trial: \{student_timed: true\}; set it so, or leave it out"):
        SweepConfig.model_validate({**sweep, "trial": {**tiny_settings(), "student_timed": False}, **selected})


def test_parameters_and_operations_need_not_be_asked_for() -> None:
    sweep = {"name": "a", "trial": tiny_settings(), "space": {"student": {"type": "categorical", "choices": ["lenet"]}}}
    constraints = {"student_parameters": {"at_most": 100_000}, "student_flops": {"at_most": 1e9}}
    trial = SweepConfig.model_validate({**sweep, "constraints": constraints}).configs()[0]
    assert not trial.student_timed


def test_a_network_that_reads_its_own_weights_is_counted_too(tmp_path: Path) -> None:
    file = tmp_path / "reads.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Reads(nn.Module):\n"
        "    def __init__(self, num_classes, channels):\n"
        "        super().__init__()\n"
        "        self.first = nn.Conv2d(channels, 4, 3)\n"
        "        self.last = nn.Linear(4, num_classes)\n\n"
        "    def forward(self, images):\n"
        "        scale = float(self.last.weight.abs().max())\n"
        "        return self.last(self.first(images).mean((2, 3))) / scale\n"
    )
    work = network_work(f"{file}:Reads", num_classes=10, channels=1)
    assert work.flops == 2 * (30 * 30 * 4 * 9) + 2 * 4 * 10


def test_a_network_that_reads_its_images_is_counted_too(tmp_path: Path) -> None:
    file = tmp_path / "reads.py"
    file.write_text(
        "from torch import nn\n"
        "from trainables.networks import Network\n\n"
        "class Reads(Network):\n"
        "    def __init__(self, num_classes, channels):\n"
        "        super().__init__()\n"
        "        self.last = nn.Linear(channels, num_classes)\n\n"
        "    def forward(self, images):\n"
        "        return self.last(images.mean((2, 3)) - float(images.mean())), []\n"
    )
    assert network_work(f"{file}:Reads", num_classes=10, channels=3).flops == 2 * 3 * 10


def test_an_edited_network_is_counted_anew(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    for width in (4, 5):
        file.write_text(
            "from torch import nn\n\ndef make(num_classes):\n"
            f"    return nn.Sequential(nn.Flatten(), nn.Linear(1024, {width}), nn.Linear({width}, 10))\n"
        )
        own_files.forget()
        assert network_work(f"{file}:make", num_classes=10, channels=1).flops == 2 * width * (1024 + 10)


def test_the_field_is_off_unless_asked_for() -> None:
    assert not ZeroShotConfig.model_validate(tiny_settings()).student_timed
