"""Divergences of a user's own, from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import make_distiller
from trainables.config import ZeroShotConfig

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


def test_a_file_that_is_no_python_is_refused(file: Path) -> None:
    file.write_text("def")
    with pytest.raises(ValueError, match=r"mine\.py: invalid syntax"):
        ZeroShotConfig(generator_divergence=f"{file}:squared")


def test_checking_a_name_loads_no_torch(file: Path) -> None:
    code = (
        f"import sys; from trainables.config import ZeroShotConfig; ZeroShotConfig(student_divergence='{file}:squared')"
    )
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)
