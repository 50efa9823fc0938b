"""Networks that draw random numbers in training: a trial's numbers follow from its config, whatever else draws."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.missing import NEEDS_A_COMPILER
from tests.support.packages import install_networks
from tests.support.prepared import Prepared
from tests.support.tiny import make_distiller, make_splits
from tests.support.trial_runs import config
from trainables.compute.cuda_graphs import without_draws_on_the_host
from trainables.config import SupervisedConfig
from trainables.config.base import derive_seed
from trainables.errors import RecordingError
from trainables.ray_trainables import TrialTrainable
from trainables.seeding import host_states, seeded
from trainables.storage import checkpoint
from trainables.training.protocol import Training
from trainables.training.supervised import SupervisedTrainer

MODULE = """
import random
import numpy as np
import torch
from torch import nn
from trainables.networks import Network

class Base(Network):
    def __init__(self, num_classes, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 5)
        self.second = nn.Conv2d(6, 16, 5, stride=2)
        self.last = nn.Linear(16, num_classes)

    def forward(self, images):
        first = torch.relu(self.first(images))
        second = torch.relu(self.second(self.disturbed(first)))
        return self.last(second.mean((2, 3))), [first, second]

class Dropout(Base):
    def disturbed(self, values):
        return nn.functional.dropout(values, 0.5, self.training)

class PythonDepth(Base):
    def disturbed(self, values):
        return values * (random.random() if self.training else 0.5)

class NumpyDepth(Base):
    def disturbed(self, values):
        return values * (np.random.random() if self.training else 0.5)

class Wavering(Base):
    def disturbed(self, values):
        return values + torch.randn_like(values)

class DrawnWeights(Base):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.first.weight.data += random.random() + np.random.random()

    def disturbed(self, values):
        return values
"""
NAMES = {
    "dropout": "Dropout",
    "python-depth": "PythonDepth",
    "numpy-depth": "NumpyDepth",
    "wavering": "Wavering",
    "drawn-weights": "DrawnWeights",
}
DRAWING = [*NAMES]


@pytest.fixture(autouse=True)
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_networks(tmp_path, monkeypatch, MODULE, NAMES)


def zero_shot(student: str, **changes: Any) -> Training:
    return make_distiller(student=student, attention_weight=0, total_pseudo_batches=6, **changes)


def supervised(student: str, **changes: Any) -> Training:
    settings = {"dataset": "digits", "full_data_epochs": 6, "evaluation_interval": 2, "batch_size": 16, **changes}
    return SupervisedTrainer(SupervisedConfig(student=student, **settings), splits=make_splits(train=40))


METHODS = pytest.mark.parametrize("make", [zero_shot, supervised])


def disturb(seed: int) -> None:
    """What else goes on in a process."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def numbers(training: Training) -> dict[str, Any]:
    """What came out of a training: its weights and its last report."""
    report = {name: value for name, value in (training.last_report or {}).items() if "seconds" not in name}
    return {**report, **{name: value.tolist() for name, value in training.student.state_dict().items()}}


def to_the_end(training: Training) -> dict[str, Any]:
    while not training.finished:
        training.advance()
    return numbers(training)


def trained(make: Callable[[], Training], *, global_seed: int) -> dict[str, Any]:
    disturb(global_seed)
    return to_the_end(make())


@METHODS
@pytest.mark.parametrize("student", DRAWING)
def test_equal_configs_give_equal_bits(make: Callable[..., Training], student: str) -> None:
    first = trained(lambda: make(student), global_seed=1)
    assert trained(lambda: make(student), global_seed=2) == first
    assert trained(lambda: make(student, seed=1), global_seed=1) != first


@METHODS
def test_the_network_of_these_tests_draws(make: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    # Guards the test before: without draws all of it would hold as well.
    with_draws = trained(lambda: make("dropout"), global_seed=1)
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda values, *_: values)
    assert trained(lambda: make("dropout"), global_seed=1) != with_draws


def test_each_pseudo_batch_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def draw(undisturbed: Callable[[], float] = random.random) -> float:
        drawn.append(undisturbed())
        return drawn[-1]

    monkeypatch.setattr(random, "random", draw)
    make_distiller(student="python-depth", attention_weight=0, generator_steps=1, student_steps=1).train(3)
    assert len(drawn) == len(set(drawn)) == 6


@METHODS
@pytest.mark.parametrize("student", DRAWING)
def test_a_continued_training_gives_the_bits_of_an_undisturbed_one(make: Callable[..., Training], student: str) -> None:
    undisturbed = trained(lambda: make(student), global_seed=1)
    disturb(2)
    killed = make(student)
    killed.advance()
    state = checkpoint.dump(killed.state_dict())
    disturb(3)
    fresh = make(student)
    fresh.load_state_dict(checkpoint.parse(state, origin="test"))
    assert to_the_end(fresh) == undisturbed


@METHODS
def test_trials_that_take_turns_do_not_disturb_each_other(make: Callable[..., Training]) -> None:
    alone = [trained(lambda: make("dropout"), global_seed=1), trained(lambda: make("dropout", seed=1), global_seed=1)]
    both = [make("dropout"), make("dropout", seed=1)]
    while not both[0].finished:
        for training in both:
            training.advance()
    assert [numbers(training) for training in both] == alone


def test_measuring_more_often_changes_no_weight() -> None:
    seldom, often = (make_distiller(student="wavering", attention_weight=0) for _ in range(2))
    seldom.train(4)
    for _ in range(4):
        often.train(1)
        often.report()
    assert all(torch.equal(v, often.student.state_dict()[name]) for name, v in seldom.student.state_dict().items())


@METHODS
def test_the_processs_own_states_are_put_back(make: Callable[..., Training]) -> None:
    disturb(1)
    before = host_states()
    to_the_end(make("dropout"))
    assert host_states() == before
    with pytest.raises(KeyError), seeded(0, "test"):
        raise KeyError(random.random())
    assert host_states() == before


def test_a_block_draws_what_the_seed_gives() -> None:
    with seeded(3, "student"):
        drawn = torch.randn(5)
    assert torch.equal(drawn, torch.randn(5, generator=torch.Generator().manual_seed(derive_seed(3, "student"))))


def test_heirs_of_a_population_are_alike() -> None:
    donor = make_distiller(student="dropout", attention_weight=0)
    donor.advance()
    state = checkpoint.dump(donor.state_dict())
    found = []
    for global_seed in (1, 2):
        disturb(global_seed)
        heir = make_distiller(student="dropout", attention_weight=0, student_lr=1e-4)
        heir.inherit(checkpoint.parse(state, origin="test"))
        found.append(to_the_end(heir))
    assert found[0] == found[1]


@pytest.mark.usefixtures("trainables_folder")
def test_a_trial_after_another_in_one_process_and_one_that_is_continued(tmp_path: Path) -> None:
    def make(global_seed: int) -> TrialTrainable:
        disturb(global_seed)
        return Prepared(config(student="dropout", attention_weight=0))

    def ended(trainable: TrialTrainable) -> dict[str, Any]:
        while not trainable.train()["done"]:
            pass
        assert trainable.training is not None
        return numbers(trainable.training)

    first = make(1)
    expected = ended(first)
    assert first.reset(config(student="dropout", attention_weight=0))
    assert ended(first) == expected
    assert ended(make(2)) == expected
    killed = make(3)
    killed.train()
    killed.save(str(tmp_path))
    continued = make(4)
    continued.restore(str(tmp_path))
    assert ended(continued) == expected


@NEEDS_A_COMPILER
@pytest.mark.timeout(300)
def test_a_compiled_training_continues_with_the_same_bits_too() -> None:
    training = zero_shot("dropout", compilation="always")
    assert training.compiled
    training.advance()
    state = checkpoint.dump(training.state_dict())
    disturb(2)
    undisturbed = to_the_end(training)
    disturb(3)
    # What goes on compiles in its third pseudo batch, and not in its first.
    continued = zero_shot("dropout", compilation="always")
    continued.load_state_dict(checkpoint.parse(state, origin="test"))
    assert continued.done == 2
    assert to_the_end(continued) == undisturbed


@pytest.mark.parametrize("draw", [random.random, np.random.randn, lambda: torch.rand(1)])
def test_a_recording_may_not_hold_what_was_drawn_on_the_cpu(draw: Callable[[], object]) -> None:
    refused = pytest.raises(RecordingError, match="cuda_graphs=true: a network draws random numbers on the CPU")
    with refused, without_draws_on_the_host():
        draw()
    with without_draws_on_the_host():
        torch.rand(1, generator=torch.Generator())
