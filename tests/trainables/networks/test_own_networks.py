"""Networks that other packages bring, by an entry point: here a package that lies on the path with its metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.packages import install_networks
from tests.support.tiny import make_distiller, make_teacher
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.errors import NetworkError
from trainables.networks import Network, build_network, check_network
from trainables.storage.object_store import ObjectStore
from trainables.teachers.registry import TeacherRegistry

MODULE = """
import torch
from torch import nn
from trainables.networks import Network

class Small(Network):
    def __init__(self, num_classes, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 5)
        self.second = nn.Conv2d(6, 16, 5, stride=2)
        self.last = nn.Linear(16, num_classes)

    def forward(self, images):
        first = torch.relu(self.first(images))
        second = torch.relu(self.second(first))
        return self.last(second.mean((2, 3))), [first, second]

def plain(num_classes, channels):
    return nn.Linear(3, num_classes)

def number(num_classes):
    return num_classes

def broken(num_classes, channels):
    raise RuntimeError("no weights here")

class OneTooMany(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes + 1, channels)

class Bare(Small):
    def forward(self, images):
        return super().forward(images)[0], []

class Blind(Small):
    def forward(self, images):
        return super().forward(images.flatten(1))
"""
NAMES = {
    "small-6": "Small",
    "plain": "plain",
    "number": "number",
    "broken": "broken",
    "one-too-many": "OneTooMany",
    "blind": "Blind",
}


@pytest.fixture(autouse=True)
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_networks(tmp_path, monkeypatch, MODULE, {**NAMES, "Not/A Folder": "Small"})


def test_it_is_named_in_a_config_and_trained_like_any_other() -> None:
    distiller = make_distiller(teacher="small-6", student="small-6")
    assert type(distiller.student).__name__ == "Small"
    before = distiller.student.get_parameter("first.weight").clone()
    distiller.train(2)
    assert not torch.equal(distiller.student.get_parameter("first.weight"), before)


def test_one_of_a_file_is_trained_like_any_other(tmp_path: Path) -> None:
    name = f"{tmp_path / 'their_networks.py'}:Small"
    check_network(name, num_classes=10, channels=1)
    distiller = make_distiller(teacher=name, student=name)
    before = distiller.student.get_parameter("first.weight").clone()
    distiller.train(1)
    assert not torch.equal(distiller.student.get_parameter("first.weight"), before)
    with pytest.raises(NetworkError, match=r"their_networks\.py:plain fails on images of 1x32x32"):
        check_network(name.replace("Small", "plain"), num_classes=10, channels=1)
    with pytest.raises(ValueError, match="defines no Large"):
        ZeroShotConfig(student=name.replace("Small", "Large"))


def test_a_teacher_of_a_file_lies_in_the_teachers_folder(tmp_path: Path, store: ObjectStore) -> None:
    config = SupervisedConfig(student=f"{tmp_path / 'their_networks.py'}:Small", dataset="digits")
    registry = TeacherRegistry(store)
    registry.add(make_teacher("lenet"), config)
    assert registry.holds(config)
    assert {key.count("/") for key in store.keys("")} == {2}


def test_an_unknown_name_tells_which_packages_bring_networks() -> None:
    with pytest.raises(
        ValueError, match="from installed packages: blind, broken, number, one-too-many, plain, small-6"
    ):
        ZeroShotConfig(student="small-7")


def test_a_name_that_could_not_be_a_folder_is_not_taken() -> None:
    with pytest.raises(ValueError, match="unknown network 'Not/A Folder'"):
        ZeroShotConfig(student="Not/A Folder")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", r"network plain \(their_networks:plain\) fails on images of 1x32x32"),
        ("number", r"network number \(their_networks:number\) is a int; it must be a torch.nn.Module"),
        ("broken", "network broken .* cannot be built: .*no weights here"),
        ("one-too-many", r"returns tensors of shape \[\(2, 11\), .*expected are logits \(2, 10\)"),
        ("blind", "network blind fails on images of 1x32x32"),
    ],
)
def test_what_the_loop_cannot_use_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        check_network(name, num_classes=10, channels=1)


def test_trying_one_out_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    check_network("small-6", num_classes=10, channels=1)
    assert torch.equal(torch.randn(2), expected)


def test_the_projects_own_networks_need_no_trying_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.networks.build.build_network", lambda *_, **__: pytest.fail("was built"))
    check_network("wrn-16-1", num_classes=10, channels=3)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (
            "Small",
            "wrn-10-1",
            r"the activations of .*:Small \[\(28, 28\), \(12, 12\)\] and wrn-10-1 \[\(32, 32\), .*\] differ",
        ),
        ("Small", "wrn-16-1", "differ in size; allowed: attention_weight=0"),
        ("Bare", "lenet", r"Bare \[\] and lenet .* differ in size"),
        ("Bare", "Bare", "return no activations to compare; allowed: attention_weight=0"),
    ],
)
def test_attention_between_networks_that_do_not_fit_is_refused(
    student: str, teacher: str, message: str, tmp_path: Path
) -> None:
    names = [f"{tmp_path / 'their_networks.py'}:{name}" if name[0].isupper() else name for name in (student, teacher)]
    with pytest.raises(ValueError, match=f"^attention_weight=250: .*{message}"):
        make_distiller(student=names[0], teacher=names[1])
    make_distiller(student=names[0], teacher=names[1], attention_weight=0).train(1)


def test_it_is_a_network_like_the_others() -> None:
    assert isinstance(build_network("small-6", num_classes=10, channels=1), Network)
