"""Terms of the generator's loss of a user's own, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import make_distiller
from trainables.config import ZeroShotConfig
from trainables.training.distiller import ZeroShotDistiller

FILE = """
def brightness(seen):
    return seen.images.mean()

def all_that_is_seen(seen):
    again = seen.ask_teacher(seen.disturbed(seen.images))
    return (again - seen.teacher_logits).pow(2).mean() + seen.teacher_features.mean() + seen.student_logits.mean()

def of_each_image(seen):
    return seen.images.mean((1, 2, 3))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    return file


def trained(**changes: Any) -> ZeroShotDistiller:
    distiller = make_distiller(**changes)
    distiller.train(2)
    return distiller


def same_generator(one: ZeroShotDistiller, other: ZeroShotDistiller) -> bool:
    return torch.equal(one.generator.linear.weight, other.generator.linear.weight)


def test_a_function_of_a_file_is_added_to_the_loss_with_its_weight(file: Path) -> None:
    name, plain = f"{file}:brightness", trained()
    assert same_generator(trained(generator_term=name, generator_term_weight=0.0), plain)
    once, twice = trained(generator_term=name), trained(generator_term=name, generator_term_weight=2.0)
    assert not same_generator(once, plain) and not same_generator(twice, once)
    assert same_generator(trained(generator_term=name, generator_term_weight=1.0), once)


def test_it_is_given_all_that_terms_of_this_project_are_given(file: Path) -> None:
    name = f"{file}:all_that_is_seen"
    noisy, blurred = trained(generator_term=name), trained(generator_term=name, consistency_disturbance="blur")
    assert not same_generator(noisy, blurred)
    going_on = make_distiller(generator_term=name)
    going_on.train(1)
    rest = make_distiller(generator_term=name)
    rest.load_state_dict(going_on.state_dict())
    rest.train(1)
    assert same_generator(rest, noisy)


def test_one_of_this_project_is_the_same_by_its_name_and_by_its_field() -> None:
    assert same_generator(trained(generator_term="diversity", generator_term_weight=0.5), trained(diversity_weight=0.5))


def test_what_is_no_scalar_is_refused_with_its_name(file: Path) -> None:
    with pytest.raises(ValueError, match=r"generator_term=.*of_each_image: expected a scalar, found \(4,\)"):
        trained(generator_term=f"{file}:of_each_image")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brightness", "unknown generator term 'brightness'; known: teacher_entropy, .*FILE.py:NAME"),
        ("gone.py:brightness", "generator term 'gone.py:brightness': there is no file gone.py in /"),
        ("{file}:darkness", "mine.py defines no darkness"),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ZeroShotConfig(generator_term=name.format(file=file))
