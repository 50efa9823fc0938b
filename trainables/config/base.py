"""Building blocks of all configs. Imports no torch.

They are the frozen base model, bounded number types, derived seeds, the keys by which trials share images and teachers, and
the work of a training step.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed that differs for every pair of seed and purpose."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class SplitsKey(NamedTuple):
    """Identifies the images of a trial: trials with equal keys share one copy of the images."""

    dataset: str
    dataset_file: str | None
    validation_fraction: float
    split_seed: int
    image_size: str | None
    channels: int | None
    num_classes: int | None
    training_images: int | None
    test_images: int | None
    dataset_sha256: str | None


class TeacherKey(NamedTuple):
    """Identifies the teacher of a trial: trials with equal keys share one teacher."""

    splits: SplitsKey
    teacher: str
    teacher_checkpoint: str | None
    normalisation: str | None
    teacher_seed: int | None


class Passes(NamedTuple):
    """Work of one training step, in forward passes of each network over a batch of ``batch_size`` images.

    A backward pass to a network's inputs counts as one further forward pass, a backward pass to inputs and weights as two.
    Fractions stand for batches of another size, or for means over unequal steps.
    """

    student: float
    teacher: float
    generator: float
    updates: float
    """Optimizer updates, of all networks together."""


class Scale(Enum):
    """Axis on which a field's values are plotted, given in the field's annotation. Defaults to a linear axis."""

    LOGARITHMIC = "logarithmic: the distance from 0.1 to 1 equals the distance from 1 to 10"


class Config(BaseModel):
    """Base class of all configs: immutable, refuses unknown fields; the docstring below a field describes the field.

    Each class builds its pydantic validator at its first validation, since most commands use only a few of the classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Return the docstring of each field that has one.

        The docstrings are read from the source code on call. pydantic's ``use_attribute_docstrings`` would read them
        whenever a class is created, which would take a third of the time of ``zskt --help``.
        """
        found = {field: text for owner in reversed(cls.mro()) for field, text in _docstrings(owner)}
        return {field: text for field in cls.model_fields if (text := found.get(field))}


@cache
def _docstrings(owner: type) -> list[tuple[str, str]]:
    """Return the fields that a class itself declares, each with the docstring below it, or an empty string.

    The list is empty for a class whose source cannot be found.
    """
    if not issubclass(owner, Config):
        return []
    try:
        module = ast.parse(Path(inspect.getfile(owner)).read_text(encoding="utf-8"))
    except (OSError, TypeError):
        return []
    classes = {node.name: node.body for node in module.body if isinstance(node, ast.ClassDef)}
    return [
        (field.target.id, inspect.cleandoc(_text(after)))
        for field, after in pairwise([*classes.get(owner.__name__, ()), ast.Pass()])
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]


def _text(statement: ast.stmt) -> str:
    """Return the text of a statement that is a bare string, as docstrings are; an empty string for any other statement."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
