"""The pieces of which a data-free trial is put together: sources, terms, pool policies, gates and schedules, by name.

They are defined below ``trainables.training.data_free`` and loaded on use. A new one is a module there and a line here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainables.config.plugins import Registry, checked

_HOME = "trainables.training.data_free"

SOURCES = Registry(
    what="source",
    group="zskt.sources",
    own={
        "generator": f"{_HOME}.sources.generator:StandingGenerator",
        "meta_generator": f"{_HOME}.sources.meta_generator:MetaGenerator",
        "pixels": f"{_HOME}.sources.pixels:Pixels",
    },
)
"""Subclasses of ``trainables.training.data_free.sources.base.Source``."""

TERMS: dict[str, str] = {
    "adversarial": f"{_HOME}.terms.adversarial:Adversarial",
    "batch_norm": f"{_HOME}.terms.batch_norm:BatchNormStatistics",
    "one_hot": f"{_HOME}.terms.one_hot:OneHot",
    "balance": f"{_HOME}.terms.balance:Balance",
    "activation": f"{_HOME}.terms.activation:Activation",
    "contrastive": f"{_HOME}.terms.contrastive:Contrastive",
    "total_variation": f"{_HOME}.terms.total_variation:TotalVariation",
}
"""Subclasses of ``trainables.training.data_free.terms.base.Term``, in the order in which they are added. A data-free config
has the factor of each as ``NAME_weight``; a term of a user's own is its ``generator_term``."""

POOLS = Registry(
    what="pool policy",
    group="zskt.pools",
    own={
        "none": f"{_HOME}.pools.policies:NoPool",
        "all": f"{_HOME}.pools.policies:KeepAll",
        "newest": f"{_HOME}.pools.policies:KeepNewest",
        "reservoir": f"{_HOME}.pools.reservoir:Reservoir",
    },
)
"""Subclasses of ``trainables.training.data_free.pools.policies.PoolPolicy``."""

GATES = Registry(
    what="gate",
    group="zskt.gates",
    own={
        "confident": f"{_HOME}.gates:confident",
        "disagreeing": f"{_HOME}.gates:disagreeing",
    },
)
"""Functions of ``trainables.training.data_free.gates.Judged`` that say of each image whether the student learns from it."""

SCHEDULES = Registry(
    what="schedule",
    group="zskt.schedules",
    own={name: f"trainables.training.schedules:{name}" for name in ("cosine", "one_cycle", "milestones", "constant")},
)
"""Functions from an initial rate, a step and the number of steps to the step's rate."""


SourceName = Annotated[str, checked(SOURCES.check), Field(json_schema_extra={"enum": list[object](SOURCES.choices)})]
PoolName = Annotated[str, checked(POOLS.check), Field(json_schema_extra={"enum": list[object](POOLS.choices)})]
GateName = Annotated[str, checked(GATES.check), Field(json_schema_extra={"enum": list[object](GATES.choices)})]
ScheduleName = Annotated[
    str, checked(SCHEDULES.check), Field(json_schema_extra={"enum": list[object](SCHEDULES.choices)})
]
