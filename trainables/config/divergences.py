"""The parts of losses that a config may name: divergences between student and teacher, and further terms of the generator.

They are defined in ``trainables.training.losses`` and ``trainables.training.generator_terms``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainables.config.plugins import Registry, checked

DIVERGENCES = Registry(
    what="divergence",
    group="zskt.divergences",
    own={
        "forward_kl": "trainables.training.losses:FORWARD_KL",
        "reverse_kl": "trainables.training.losses:REVERSE_KL",
        "jensen_shannon": "trainables.training.losses:JENSEN_SHANNON",
        "l1": "trainables.training.losses:L1",
    },
)

DivergenceName = Annotated[
    str, checked(DIVERGENCES.check), Field(json_schema_extra={"enum": list[object](DIVERGENCES.choices)})
]

GENERATOR_TERMS = Registry(
    what="generator term",
    group="zskt.generator_terms",
    own={
        name: f"trainables.training.generator_terms:{name}"
        for name in ("teacher_entropy", "student_entropy", "diversity", "consistency")
    },
)
"""Functions of ``trainables.training.generator_terms.Seen`` that return scalars, in the order in which they are added. A
zero-shot config has the factor of each of this project's as ``NAME_weight``, and may name one more."""

GeneratorTermName = Annotated[
    str,
    checked(GENERATOR_TERMS.check),
    Field(json_schema_extra={"enum": list[object](GENERATOR_TERMS.choices)}),
]
