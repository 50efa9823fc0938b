"""Names of the parts that a data-free trial is composed of: sources, terms, pool policies, gates and schedules.

The parts are defined in ``trainables.training.data_free`` (schedules in ``trainables.training.schedules``) and imported on
use. A new part takes a module there and a line here.
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
"""Sources: subclasses of ``trainables.training.data_free.sources.base.Source``."""

TERMS: dict[str, str] = {
    "adversarial": f"{_HOME}.terms.adversarial:Adversarial",
    "batch_norm": f"{_HOME}.terms.batch_norm:BatchNormStatistics",
    "one_hot": f"{_HOME}.terms.one_hot:OneHot",
    "balance": f"{_HOME}.terms.balance:Balance",
    "activation": f"{_HOME}.terms.activation:Activation",
    "contrastive": f"{_HOME}.terms.contrastive:Contrastive",
    "total_variation": f"{_HOME}.terms.total_variation:TotalVariation",
}
"""Terms of the source's loss: subclasses of ``trainables.training.data_free.terms.base.Term``, in the order in which they
are added. The config field ``NAME_weight`` is the factor of a term; a term of the user's own goes into
``generator_term``."""

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
"""Pool policies: subclasses of ``trainables.training.data_free.pools.policies.PoolPolicy``."""

GATES = Registry(
    what="gate",
    group="zskt.gates",
    own={
        "confident": f"{_HOME}.gates:confident",
        "disagreeing": f"{_HOME}.gates:disagreeing",
    },
)
"""Gates: functions that take a ``trainables.training.data_free.gates.Judged`` and return for each image whether the student
learns from it, as a bool tensor (batch,)."""

SCHEDULES = Registry(
    what="schedule",
    group="zskt.schedules",
    own={name: f"trainables.training.schedules:{name}" for name in ("cosine", "one_cycle", "milestones", "constant")},
)
"""Learning-rate schedules: functions that take an initial rate, a step and the number of steps, and return the step's
rate."""


SourceName = Annotated[str, checked(SOURCES.check), Field(json_schema_extra={"enum": list[object](SOURCES.choices)})]
PoolName = Annotated[str, checked(POOLS.check), Field(json_schema_extra={"enum": list[object](POOLS.choices)})]
GateName = Annotated[str, checked(GATES.check), Field(json_schema_extra={"enum": list[object](GATES.choices)})]
ScheduleName = Annotated[
    str, checked(SCHEDULES.check), Field(json_schema_extra={"enum": list[object](SCHEDULES.choices)})
]
