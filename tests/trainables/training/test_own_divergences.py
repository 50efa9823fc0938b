"""Divergences of a user's own, from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.support.tiny import make_distiller
from trainables.config import ZeroShotConfig
from trainables.config.divergences import DIVERGENCES
from trainables.errors import DivergenceError
from trainables.training.losses import check_divergence

FILE = """
import torch
from trainables.training.losses import Divergence

def squared(student, teacher):
    return (student - teacher).pow(2)

OF_LOGITS = Divergence(squared, of_logits=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    return file


def test_a_function_of_a_file_is_what_the_student_minimises(file: Path) -> None:
    own, published = make_distiller(student_divergence=f"{file}:squared"), make_distiller()
    own.train(1)
    published.train(1)
    assert torch.equal(own.generator.linear.weight, published.generator.linear.weight), "it is the student's alone"
    assert not torch.equal(*(next(distiller.student.parameters()) for distiller in (own, published)))
    of_logits = make_distiller(student_divergence=f"{file}:OF_LOGITS")
    of_logits.train(1)
    assert not torch.equal(*(next(distiller.student.parameters()) for distiller in (own, of_logits)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cosine", "unknown divergence 'cosine'; known: forward_kl, reverse_kl, jensen_shannon, l1, FILE.py:NAME"),
        ("gone.py:squared", "divergence 'gone.py:squared': there is no file gone.py"),
        ("{file}:cubed", "mine.py defines no cubed"),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ZeroShotConfig(generator_divergence=name.format(file=file))


BROKEN = """
import torch
from trainables.training.losses import Divergence

def scalar(student, teacher):
    return (student - teacher).pow(2).mean()

def rows(student, teacher):
    return (student - teacher).pow(2).sum(1)

def number(student, teacher):
    return 1.0

def logarithm(student, teacher):
    return (student - teacher).log()

def infinite(student, teacher):
    return (student - teacher).pow(2) / 0

def detached(student, teacher):
    return (student.detach() - teacher).pow(2)

def of_nothing(student, teacher):
    return torch.zeros_like(student)

def steep(student, teacher):
    return (student - student).sqrt()

def missing(student, teacher):
    return open("no such table")

def leaving(student, teacher):
    raise SystemExit(3)

NUMBER = Divergence(3)
"""


@pytest.mark.parametrize("role", ["student", "generator"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scalar", r"returns shape \(\) for outputs of shape \(3, 10\); expected is the contribution of each output"),
        ("rows", r"returns shape \(3,\) for outputs"),
        ("number", "returns a float; expected is a tensor"),
        ("logarithm", "returns values that are NaN or infinite"),
        ("infinite", "returns values that are NaN or infinite"),
        ("of_nothing", "gives no gradient"),
        ("steep", "has a gradient that is NaN or infinite"),
        ("missing", "fails on the outputs of 3 images: FileNotFoundError"),
        ("leaving", r"fails on the outputs of 3 images: SystemExit\(3\)"),
        ("NUMBER", "fails on the outputs of 3 images: TypeError"),
    ],
)
def test_what_the_loop_cannot_learn_by_is_refused_with_the_reason(
    name: str, message: str, role: Literal["student", "generator"], file: Path
) -> None:
    file.write_text(BROKEN)
    with pytest.raises(DivergenceError, match=f"^{role}_divergence: .*mine.py:{name} {message}"):
        check_divergence(f"{file}:{name}", num_classes=10, role=role)


def test_the_generator_may_learn_by_one_network_alone_and_the_student_not_by_the_teacher(file: Path) -> None:
    file.write_text(BROKEN)
    check_divergence(f"{file}:detached", num_classes=10, role="generator")
    with pytest.raises(DivergenceError, match="gives no gradient, so no network would learn"):
        check_divergence(f"{file}:detached", num_classes=10, role="student")


@pytest.mark.parametrize("role", ["student", "generator"])
def test_those_that_are_defined_well_pass_and_leave_the_random_state_alone(
    role: Literal["student", "generator"], file: Path
) -> None:
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    again = [f"{name.upper()} = trainables.training.losses.{name.upper()}" for name in DIVERGENCES.own]
    file.write_text("\n".join(["import trainables.training.losses", FILE, *again]))
    for name in ("squared", "OF_LOGITS", *(name.upper() for name in DIVERGENCES.own)):
        check_divergence(f"{file}:{name}", num_classes=10, role=role)
    assert torch.equal(torch.randn(2), expected)


def test_a_file_that_is_no_python_is_refused(file: Path) -> None:
    file.write_text("def")
    with pytest.raises(ValueError, match=r"mine\.py: invalid syntax"):
        ZeroShotConfig(generator_divergence=f"{file}:squared")


def test_checking_a_name_loads_no_torch(file: Path) -> None:
    code = (
        f"import sys; from trainables.config import ZeroShotConfig; ZeroShotConfig(student_divergence='{file}:squared')"
    )
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)
