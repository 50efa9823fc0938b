"""The divergences between student and teacher that a config may name; they are defined in ``trainables.training.losses``."""

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
