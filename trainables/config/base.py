"""What all settings are made of, and what is told of them: a frozen model, numbers with bounds, seeds from seeds, keys by
which trials share inputs, and what a step computes. Free of torch."""

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
    """Names the images of a trial: trials with equal keys share them."""

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
    """Names the teacher of a trial: trials with equal keys share it."""

    splits: SplitsKey
    teacher: str
    teacher_checkpoint: str | None
    normalisation: str | None
    teacher_seed: int | None


class Passes(NamedTuple):
    """What a step of training computes, in forward passes of each network over a batch of ``batch_size`` images.

    A backward pass to a network's inputs counts one more, and one to its weights as well two. Fractions are of a batch of
    another size, or means over steps that differ.
    """

    student: float
    teacher: float
    generator: float
    updates: float
    """Of an optimizer."""


class Scale(Enum):
    """Says on which axis a field's values are drawn; stands in its annotation. Defaults to a linear one."""

    LOGARITHMIC = "by their factor: from 0.1 to 1 is as far as from 1 to 10"


class Config(BaseModel):
    """Base of all settings: cannot be changed, refuses unknown fields, is described by the docstrings below its fields.

    What pydantic checks values with is built at the first one, since many a command meets a few of the classes only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Return the docstring of each field that has one.

        It is read from the source when somebody asks. pydantic's ``use_attribute_docstrings`` reads it whenever a class is
        made, which is a third of what ``zskt --help`` would cost.
        """
        found = {field: text for owner in reversed(cls.mro()) for field, text in _docstrings(owner)}
        return {field: text for field in cls.model_fields if (text := found.get(field))}


@cache
def _docstrings(owner: type) -> list[tuple[str, str]]:
    """Return the fields that a class itself declares, each with the text that follows it, or an empty one.

    Of a class whose source cannot be found, none are known.
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
    """Return the text that a statement consists of, as docstrings do; empty for any other."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
