"""Costs of trials in earlier sweeps, from which ``zskt plan`` estimates the cost of similar trials.

Each field of a config is annotated with how it changes the work (``trainables.config.roles.Cost``). Trials are similar if
they agree in all fields that change the work other than by its amount.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results import TrialRecord, read_trials, rows_of
from trainables.compute.flops import unit_work
from trainables.config import AnyTrialConfig
from trainables.config.roles import Cost, roles_of
from trainables.storage.object_store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a planned trial would run: the machines on which past trials count for its estimate."""

    on_gpu: bool
    threads: int
    gpus: float | None = None
    """GPUs of each trial, or its part of one. None means any, for trials with ``gpu: auto``."""

    node_types: Collection[str] = ()
    """Types of the machines, as in the column ``node_type``."""

    own_machines: bool = False
    """Whether all machines that rows name by their host names count too, as for machines of the user's own."""

    device_name: str | None = None
    """Model of this machine's processor or GPU, which counts too. None if the trial would not run on this machine."""

    def had(self, row: TrialRecord) -> bool:
        """Return whether the trial of a result row ran in such a place, where it takes as long."""
        here = self.device_name is not None and row.device_name == self.device_name
        device = "cuda" if self.on_gpu else "cpu"
        same = row.device == device and row.threads == self.threads
        own = self.own_machines and row.node_type is not None and row.node_type == row.hostname
        return same and (here or own or row.node_type in self.node_types) and self._shared_alike(row)

    def _shared_alike(self, row: TrialRecord) -> bool:
        """Return whether the trial of a result row held about as much of a GPU.

        A trial's GPU time includes set-up and lost work, so that a row may show a larger share than its trial had, but not a
        smaller one. Shares that differ by a factor of two are told apart.
        """
        if not self.on_gpu:
            return True
        if row.gpu_seconds is None:  # the row is of a version that did not record GPU time
            return False
        held = row.gpu_seconds / (row.training_seconds + row.evaluation_seconds)
        return self.gpus is None or (held >= 0.9 * self.gpus and (self.gpus >= 1 or held < 1.8 * self.gpus))


@dataclass(frozen=True, kw_only=True)
class PastCosts:
    """Time and cost of ended trials that are similar to a planned one, scaled to its work."""

    trials: int
    machines: Sequence[str]
    """Types of the machines on which the trials ran."""

    seconds: tuple[float, float]
    """Seconds per trial: the least and the largest of the medians of all types of machine."""

    gpu_hours: tuple[float, float]
    """GPU hours per trial: the least and the largest of the medians of all types of machine."""

    usd: tuple[float, float] | None
    """Cost in USD of the cheapest and the dearest trial; None if no trial has a known cost."""


def past_costs(store: ObjectStore, config: AnyTrialConfig, place: Place) -> PastCosts | None:
    """Return the time and cost of trials, in the sweeps of a storage, that are similar to a planned one; None without any.

    Args:
        store: Storage of the earlier sweeps.
        config: Config of the planned trial.
        place: Where the planned trial would run.
    """
    found = [row for row in map(TrialRecord.of_row, rows_of(read_trials(store))) if is_alike(row, config, place)]
    if not found:
        return None
    seconds: dict[str, list[float]] = {}
    gpu_hours: dict[str, list[float]] = {}
    paid = []
    for row in found:
        machine = str(row.node_type or row.device_name)
        seconds_now = _seconds(row, config)
        longer = seconds_now / (row.training_seconds + row.evaluation_seconds)
        seconds.setdefault(machine, []).append(seconds_now)
        gpu_hours.setdefault(machine, []).append(longer * (row.gpu_seconds or 0.0) / 3600)
        if row.cost_usd is not None:
            paid.append(longer * row.cost_usd)
    return PastCosts(
        trials=len(found),
        machines=sorted(seconds),
        seconds=_medians(seconds),
        gpu_hours=_medians(gpu_hours),
        usd=(min(paid), max(paid)) if paid else None,
    )


def is_alike(row: TrialRecord, config: AnyTrialConfig, place: Place) -> bool:
    """Return whether the trial of a result row has a result and is similar to a planned one."""
    if not row.state.has_result or row.settings["method"] != config.method:
        return False
    if not row.done or not row.training_seconds:
        return False
    compiled = config.compiles_on("cuda" if place.on_gpu else "cpu")
    theirs = row.config
    same = all(
        _work(getattr(theirs, field), role.cost) == _work(getattr(config, field), role.cost)
        for field, role in roles_of(type(config)).items()
    )
    return same and row.compiled == compiled and place.had(row)


def _work(value: object, cost: Cost) -> object:
    """Return the part of a field's value in which similar trials must agree."""
    match cost:
        case Cost.EQUAL:
            return value
        case Cost.SWITCH:
            return bool(value)
        case Cost.AMOUNT | Cost.COLUMN | Cost.NONE:
            return None


def _seconds(row: TrialRecord, config: AnyTrialConfig) -> float:
    """Return the seconds that the planned trial would take at the speed of a result row's trial."""
    theirs = row.config
    done: int = row.metrics[config.unit]
    more = config.budget * unit_work(config).flops / (done * unit_work(theirs).flops)
    more_reports = config.reports / -(-done // theirs.report_interval)
    return more * row.training_seconds + more_reports * row.evaluation_seconds


def _medians(values: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest of the medians of all machines."""
    medians = [statistics.median(of_machine) for of_machine in values.values()]
    return min(medians), max(medians)
