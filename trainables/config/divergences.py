"""Names of the parts of losses that a config may contain: divergences, and extra terms of the generator's loss.

The parts are defined in ``trainables.training.losses`` and ``trainables.training.generator_terms``.
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
"""Extra terms of the generator's loss: functions that take a ``trainables.training.generator_terms.Seen`` and return a
scalar, in the order in which they are added. The config field ``NAME_weight`` is the factor of one of this project's terms;
the field ``generator_term`` names one further term."""

GeneratorTermName = Annotated[
    str,
    checked(GENERATOR_TERMS.check),
    Field(json_schema_extra={"enum": list[object](GENERATOR_TERMS.choices)}),
]
