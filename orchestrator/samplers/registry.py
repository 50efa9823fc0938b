"""Registry of the samplers that a config accepts, by name."""

from __future__ import annotations

from typing import Annotated

from orchestrator.kinds import KindRegistry
from orchestrator.samplers.base import AbsentSampler, SamplerConfig
from orchestrator.samplers.cmaes import CmaEs
from orchestrator.samplers.gp import Gp
from orchestrator.samplers.grid import Grid
from orchestrator.samplers.nsgaii import NsgaII
from orchestrator.samplers.qmc import Qmc
from orchestrator.samplers.random import Random
from orchestrator.samplers.tpe import Tpe

SAMPLERS: KindRegistry[SamplerConfig] = KindRegistry(
    "sampler",
    group="zskt.samplers",
    base=SamplerConfig,
    absent=AbsentSampler,
    kinds={
        "tpe": Tpe,
        "gp": Gp,
        "cmaes": CmaEs,
        "nsgaii": NsgaII,
        "qmc": Qmc,
        "grid": Grid,
        "random": Random,
    },
    flat={"name": "tpe", "startup_trials": 10, "arguments": {}, "grid": {}},
)

AnySampler = Annotated[SamplerConfig, SAMPLERS]
"""Type of a field that holds a sampler of any kind."""
