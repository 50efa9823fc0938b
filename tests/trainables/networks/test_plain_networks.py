"""Networks that know nothing of this project: of torchvision, of timm, and hand-written modules of a file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.tiny import tiny_settings
from trainables.compute.student_size import student_parameters
from trainables.compute.work import network_work
from trainables.config import ZeroShotConfig
from trainables.config.network_names import check_network_name
from trainables.errors import NetworkError
from trainables.networks import Network, build_network, check_network, frozen_copy
from trainables.networks.activations import activation_sizes, attention_pairs, last_of_each_resolution
from trainables.networks.libraries import torchvision_network
from trainables.networks.plain import PlainNetwork
from trainables.profiling.dummies import dummy_splits, dummy_teacher
from trainables.training.attention import watch_layers
from trainables.training.distiller import ZeroShotDistiller

FILE = """
import torch
from torch import nn

def make_teacher(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(num_classes),
    )

class Whole(nn.Module):
    def __init__(self, num_classes, channels, image_size):
        super().__init__()
        self.features = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear(4 * image_size[0] * image_size[1], num_classes)

    def forward(self, images):
        return self.head(torch.relu(self.features(images)).flatten(1))

class Pairs(nn.Module):
    def forward(self, images):
        return images, images

class Last(nn.Module):
    def forward(self, images):
        return images.permute(0, 2, 3, 1)

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, 2, padding=1)
        self.never, self.pairs, self.last, self.head = nn.ReLU(), Pairs(), Last(), nn.LazyLinear(10)

    def forward(self, images):
        return self.head(self.last(self.pairs(self.first(images))[0]).flatten(1))

class Frozen(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes, channels, image_size)
        self.features.requires_grad_(False)

class Tuple(Whole):
    def forward(self, images):
        return super().forward(images), images

class InPlace(Whole):
    def forward(self, images):
        return super().forward(images.relu_())

class NoGradient(Whole):
    def forward(self, images):
        with torch.no_grad():
            return super().forward(images)

class Detached(Whole):
    def forward(self, images):
        return super().forward(images.detach())

class Rounded(Whole):
    def forward(self, images):
        return super().forward(images.round())

class ZeroHead(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes, channels, image_size)
        nn.init.zeros_(self.head.weight)

class WeightNorm(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes, channels, image_size)
        self.scale = [self.features.weight * 1]

class FiveDimensions(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes, channels, image_size)
        self.deep = nn.Conv3d(1, 1, 1)

    def forward(self, images):
        return super().forward(self.deep(images.unsqueeze(2)).squeeze(2))

def probabilities(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.BatchNorm1d(num_classes), nn.Softmax(1))

class NaN(Whole):
    def forward(self, images):
        return super().forward(images) * float("nan")

class OneTooMany(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes + 1, channels, image_size)

class OnlyLarge(Whole):
    def forward(self, images):
        return super().forward(nn.functional.conv2d(images, images.new_zeros(1, 1, 40, 40)))

def fails(num_classes):
    import a_package_that_nobody_has
"""
FROZEN = """
class Frozen(Whole):
    def __init__(self, num_classes, channels, image_size):
        super().__init__(num_classes, channels, image_size)
        self.requires_grad_(False)

def no_weights(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d((1, num_classes)), nn.Flatten())
"""
HALF = """
import torch
from torch import nn

def half(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes)).half()

class Casts(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(784, num_classes).half()

    def forward(self, images):
        return self.head(images.flatten(1).half())
"""
SHAPES: dict[str, Any] = {"num_classes": 10, "channels": 1, "image_size": (28, 28)}


class ChannelsLast(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 2, 3, 1)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "my_nets.py").write_text(FILE)
    return str(tmp_path / "my_nets.py")


def distiller_of(**settings: object) -> ZeroShotDistiller:
    config = ZeroShotConfig.model_validate({**tiny_settings(), "attention_weight": 100.0, **settings})
    return ZeroShotDistiller(config, teacher=dummy_teacher(config), splits=dummy_splits(config, train=0, test=4))


@pytest.mark.parametrize("name", ["make_teacher", "Whole", "ZeroHead"])
def test_a_module_that_returns_logits_is_enough(name: str, file: str) -> None:
    check_network(f"{file}:{name}", **SHAPES)
    network = build_network(f"{file}:{name}", **SHAPES)
    logits, activations = network(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10)
    assert activations[0].shape[2:] == (28, 28)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Tuple", "returns a tuple; it must return logits"),
        ("probabilities", "seems to return probabilities: .*leave out the last softmax"),
        ("InPlace", "changes its input images"),
        ("NaN", "NaN or infinite logits"),
        ("NoGradient", "gives images no gradient, so a generator cannot learn from it"),
        ("Detached", "gives images no gradient"),
        ("Rounded", "gives images no gradient"),
        (
            "WeightNorm",
            "cannot be copied by copy.deepcopy after a training step: RuntimeError: Only Tensors created",
        ),
        ("FiveDimensions", "cannot be laid out with channels last, .*: RuntimeError: required rank 4 tensor"),
        ("OneTooMany", r"expected are logits \(2, 10\)"),
        ("OnlyLarge", "fails on images of 1x28x28: RuntimeError: .*; lenet, wrn-D-K and resnet-18 take any size"),
        ("fails", "cannot be built: ModuleNotFoundError.*a_package_that_nobody_has"),
    ],
)
def test_what_the_loop_cannot_use_is_refused_with_the_reason(name: str, message: str, file: str) -> None:
    with pytest.raises(NetworkError, match=message):
        check_network(f"{file}:{name}", **SHAPES)


@pytest.mark.parametrize("learns", [True, False])
def test_a_student_needs_a_weight_that_learns(learns: bool, file: str, tmp_path: Path) -> None:
    (tmp_path / "frozen.py").write_text(Path(file).read_text() + FROZEN)
    for name in ("Frozen", "no_weights"):
        if learns:
            with pytest.raises(NetworkError, match=f"{name} has no weight that learns"):
                check_network(f"{tmp_path}/frozen.py:{name}", **SHAPES, has_generator=False, learns=learns)
        else:
            check_network(f"{tmp_path}/frozen.py:{name}", **SHAPES, has_generator=name == "Frozen", learns=learns)


def test_weights_of_half_precision_become_whole_before_the_check(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(HALF)
    check_network(f"{tmp_path}/half.py:half", **SHAPES)
    with pytest.raises(NetworkError, match="fails on images of 1x28x28: RuntimeError"):
        check_network(f"{tmp_path}/half.py:Casts", **SHAPES)


def test_layers_of_a_plain_module_are_named_as_its_author_does(file: str) -> None:
    network = build_network(f"{file}:Whole", **SHAPES)
    with pytest.raises(ValueError, match="its outermost modules: features, head"):
        watch_layers(network, "cc", (1, 28, 28), name="Whole")


def test_frozen_features_are_enough_without_a_generator(file: str) -> None:
    check_network(f"{file}:Detached", **SHAPES, has_generator=False)


def test_its_activations_are_the_last_ones_of_each_resolution() -> None:
    network = torchvision_network("resnet18", num_classes=10, channels=3, image_size=(64, 64))
    assert last_of_each_resolution(network, (3, 64, 64)) == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert network.training


def test_looking_for_them_leaves_statistics_and_random_state_alone() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.LazyLinear(10))
    body(torch.rand(2, 1, 16, 16))
    before = copy.deepcopy(body.state_dict())
    state = torch.get_rng_state()
    PlainNetwork(body, image_shape=(1, 16, 16))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in body.state_dict().items())


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        ([(32, 32), (16, 16)], [(32, 32), (16, 16)], [(0, 0), (1, 1)]),
        ([(8, 8), (8, 8)], [(8, 8), (8, 8)], [(0, 0), (1, 1)]),
        ([(32, 32), (16, 16), (8, 8)], [(32, 32), (16, 16), (8, 8), (4, 4)], [(0, 0), (1, 1), (2, 2)]),
        ([(28, 28), (10, 10)], [(32, 32), (16, 16)], []),
        ([(16, 16), (8, 8), (8, 8)], [(8, 8), (4, 4)], [(2, 0)]),
        ([(8, 8), (1, 1)], [(4, 4), (1, 1)], []),
        ([(8, 6), (4, 3)], [(6, 8), (4, 3)], [(1, 1)]),
    ],
)
def test_attention_compares_the_resolutions_that_both_have(
    student: list[tuple[int, int]], teacher: list[tuple[int, int]], pairs: list[tuple[int, int]]
) -> None:
    assert attention_pairs(student, teacher) == pairs


def test_a_student_of_a_library_learns_from_a_module_of_a_file(file: str) -> None:
    trial = distiller_of(teacher=f"{file}:Whole", student="timm:resnet10t", image_size=28, attention_weight=0)
    before = {key: value.clone() for key, value in trial.student.state_dict().items()}
    trial.step()
    assert any(not torch.equal(before[key], value) for key, value in trial.student.state_dict().items())
    assert trial.report()["training_flops"]


def test_what_its_builder_froze_stays_as_it_is(file: str) -> None:
    trial = distiller_of(teacher="lenet", student=f"{file}:Frozen", image_size=28, attention_weight=0)
    before = {key: value.clone() for key, value in trial.student.state_dict().items()}
    for _ in range(2):
        trial.step()
    after = trial.student.state_dict()
    assert {key for key, value in before.items() if not torch.equal(value, after[key])} == {
        "body.head.weight",
        "body.head.bias",
    }
    assert student_parameters(trial) == 4 * 28 * 28 * 10 + 10


def test_layers_are_named_in_the_networks_own_words(file: str) -> None:
    trial = distiller_of(
        teacher=f"{file}:make_teacher",
        student="wrn-10-1",
        image_size=28,
        attention_layers={"teacher": ["1", "2"], "student": ["block1", "block2"]},
    )
    assert (
        activation_sizes(trial.teacher, (1, 28, 28))
        == activation_sizes(trial.student, (1, 28, 28))
        == [
            (28, 28),
            (14, 14),
        ]
    )
    trial.step()
    assert trial.config.student_attention_layers == "block1,block2"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"student": ["block9"]}, "wrn-10-1 has no module of that name .*block9.*block1, block2, block3"),
        ({"student": ["block1"], "teacher": ["block2"]}, "differ in size; allowed: .*attention_layers of equal sizes"),
        ({"student": ["block1", "block1"]}, "of wrn-10-1: block1 is named more than once"),
        ({"teacher": ["fc"]}, r"of wrn-10-1: module fc returns \(1, 10\) for one image of 1x32x32; expected"),
        (
            {"student": ["conv1", "block1"]},
            r"conv1 \(32, 32\) of wrn-10-1 has no counterpart in wrn-10-1 \[\(32, 32\), .*leave it out",
        ),
    ],
)
def test_layers_that_are_not_there_or_do_not_fit_are_refused(layers: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distiller_of(teacher="wrn-10-1", student="wrn-10-1", attention_layers=layers)


def test_fully_connected_layers_of_both_are_refused() -> None:
    with pytest.raises(ValueError, match=r"attention_layers of lenet: module fc1 returns \(1, 120\)"):
        distiller_of(teacher="lenet", student="lenet", attention_layers={"student": ["fc1"], "teacher": ["fc1"]})


@pytest.mark.parametrize("attention_weight", [0, 100])
@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("never", "module never was not called"),
        ("pairs", "module pairs returns tuple for one image"),
        ("last", r"module last returns \(1, 14, 14, 6\) for one image"),
    ],
)
def test_modules_without_a_map_are_refused(module: str, message: str, attention_weight: float, file: str) -> None:
    with pytest.raises(ValueError, match=f"attention_layers of .*:Odd: {message}"):
        distiller_of(
            teacher=f"{file}:Odd",
            student="wrn-10-1",
            image_size=28,
            attention_weight=attention_weight,
            attention_layers={"teacher": [module]},
        )


@pytest.mark.parametrize("size", [(28, 28), (40, 28), (23, 35)])
def test_what_has_its_channels_last_has_no_activations(size: tuple[int, int]) -> None:
    body = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), ChannelsLast(), nn.Linear(8, 24))
    network = PlainNetwork(nn.Sequential(body, nn.Flatten(), nn.LazyLinear(10)), image_shape=(1, *size))
    assert network.watched == ("0.1", "0.2")


def test_normalised_weights_are_no_activations() -> None:
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 3))
    body = nn.Sequential(convolution, nn.Flatten(), nn.LazyLinear(10))
    assert last_of_each_resolution(body, (1, 28, 28)) == ["0"]


def test_a_module_that_sees_vectors_too_has_no_activation() -> None:
    relu = nn.ReLU()
    body = nn.Sequential(nn.Conv2d(1, 6, 5), relu, nn.Flatten(), nn.LazyLinear(10), relu)
    assert last_of_each_resolution(body, (1, 28, 28)) == ["0"]


@pytest.mark.parametrize("layers", ["block1", [], {"generator": ["linear"]}, {"student": "block 1"}, {"student": [1]}])
def test_layers_in_another_shape_are_refused(layers: object) -> None:
    with pytest.raises(ValidationError, match="attention_layers"):
        ZeroShotConfig.model_validate({"attention_layers": layers})


def test_naming_the_layers_that_are_compared_anyway_changes_no_bit() -> None:
    layers = ["block1", "block2", "block3"]
    pair: dict[str, Any] = {"teacher": "wrn-10-1", "student": "wrn-10-1"}
    pair["numerics"] = "exact"  # else the teacher's BatchNorms are folded where no module is named
    plain = distiller_of(**pair)
    named = distiller_of(**pair, attention_layers={"student": layers, "teacher": layers})
    for trial in (plain, named):
        trial.step()
    assert all(torch.equal(value, named.student.state_dict()[key]) for key, value in plain.student.state_dict().items())


def test_a_copy_looks_by_itself(file: str) -> None:
    network = build_network(f"{file}:Whole", **SHAPES).eval()
    copied = frozen_copy(network)
    images = torch.rand(2, 1, 28, 28)
    expected = network(images)[1][0].clone()
    with torch.no_grad():
        copied.get_parameter("body.features.weight").mul_(2)
    assert not torch.equal(copied(images)[1][0], expected)
    assert torch.equal(network(images)[1][0], expected)


def test_names_of_libraries_are_checked_before_anything_loads() -> None:
    assert check_network_name("torchvision:resnet18") == "torchvision:resnet18"
    with pytest.raises(ValueError, match=r"unknown network 'keras:resnet'; known: .*torchvision:NAME, timm:NAME"):
        check_network_name("keras:resnet")
    with pytest.raises(NetworkError, match="torchvision has no classifier 'resnet19'"):
        build_network("torchvision:resnet19", num_classes=10)
    with pytest.raises(NetworkError, match="timm has no network 'resnet19'"):
        build_network("timm:resnet19", num_classes=10)
    with pytest.raises(NetworkError, match="takes images of 3 channels and these have 1"):
        build_network("torchvision:resnet18", num_classes=10, channels=1)


def test_timm_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.networks.libraries.find_spec", lambda name: None)
    with pytest.raises(NetworkError, match=r"pip install 'zskt\[timm\]'"):
        build_network("timm:resnet10t", num_classes=10)


def test_networks_of_patches_are_built_for_the_images_size() -> None:
    network = build_network("timm:vit_tiny_patch16_224", num_classes=10, image_size=(64, 48))
    assert network(torch.rand(1, 3, 64, 48))[0].shape == (1, 10)


def test_the_work_of_other_peoples_networks_is_counted() -> None:
    small, large = (
        network_work("torchvision:resnet18", num_classes=10, channels=3, image_size=size).flops
        for size in ((64, 64), (128, 128))
    )
    assert 3.5 < large / small < 4.5


def test_a_network_of_this_project_stays_as_it_is() -> None:
    assert isinstance(build_network("lenet", num_classes=10), Network)
    assert build_network("lenet", num_classes=10).watched == ()
