"""Rows of the ``sweeps`` table: what a session ran, with which versions and on which machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from orchestrator.config import SweepConfig
from orchestrator.results import SessionEvent, SweepSource, results_of
from orchestrator.samplers.registry import SAMPLERS
from orchestrator.schedulers.registry import SCHEDULERS
from orchestrator.version import code_version
from trainables.config.datasets import DATASETS
from trainables.config.divergences import DIVERGENCES, GENERATOR_TERMS
from trainables.config.methods import OTHER_METHODS
from trainables.config.network_names import OTHER_NETWORKS
from trainables.config.plugins import installed
from trainables.config.trial import OTHER_METRICS
from trainables.system.clock import SYSTEM_CLOCK
from trainables.system.own_files import OwnFile

_REGISTRIES = (
    *(OTHER_NETWORKS, DATASETS, DIVERGENCES, GENERATOR_TERMS, OTHER_METHODS, OTHER_METRICS),
    *(SAMPLERS, SCHEDULERS),
)
"""Registries to which other packages can add parts that affect results."""

_LIBRARIES = ("ray", "optuna", "torch", "torchvision", "pyarrow", "numpy")


def session_row(
    sweep: SweepConfig,
    searched: list[str],
    *,
    number: int,
    event: SessionEvent,
    cpus: float,
    gpus: float,
    domains: Mapping[str, BaseDistribution] | None = None,
    informed_by: Collection[str] | None = None,
    sharing_json: str | None = None,
    code: Iterable[OwnFile] = (),
    at: datetime | None = None,
) -> dict[str, Any]:
    """Return the row of the ``sweeps`` table for one event of a session.

    Args:
        sweep: Config of the sweep that the session runs.
        searched: Fields that the search varies.
        number: Number of the session.
        event: The event.
        cpus: CPU cores of the cluster.
        gpus: GPUs of the cluster.
        domains: Domains of the searched fields. None if they are not known.
        informed_by: Trials of other sweeps that inform the sampler. None if they have not been chosen yet.
        sharing_json: Measurement of trials that share a GPU, as JSON. None if nothing has been measured.
        code: The user's own files that the trials run.
        at: Time of the event. Defaults to now.
    """
    versions = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    entries = [entry for registry in _REGISTRIES for entry in installed(registry.group).values()]
    versions |= {entry.dist.name: entry.dist.version for entry in entries if entry.dist}
    return {
        "session": number,
        "event": event,
        "at": at or SYSTEM_CLOCK.now(),
        "config_json": sweep.model_dump_json(),
        "objective": sweep.objective,
        "searched_json": json.dumps(searched),
        "domains_json": None if domains is None else _as_json(domains),
        "informed_by_json": None if informed_by is None else json.dumps(list(informed_by)),
        "sharing_json": sharing_json,
        "code_json": json.dumps({file.name: {"sha256": file.sha256, "path": file.path} for file in code}),
        "code_version": code_version(),
        "versions_json": json.dumps(versions),
        "hostname": platform.node(),
        "cpus": cpus,
        "gpus": gpus,
    }


def continued(source: SweepSource, sweep: SweepConfig) -> SweepConfig:
    """Return a sweep with the values that its earlier sessions chose, if there were any."""
    sessions = results_of(source).sessions()
    return sweep.continuing(sessions[-1].config) if sessions else sweep


def _as_json(domains: Mapping[str, BaseDistribution]) -> str:
    return json.dumps({field: json.loads(distribution_to_json(domain)) for field, domain in sorted(domains.items())})


def domains_from_json(text: str) -> dict[str, BaseDistribution]:
    """Return the domains of the searched fields from the text that a session stored."""
    return {field: json_to_distribution(json.dumps(domain)) for field, domain in json.loads(text).items()}
