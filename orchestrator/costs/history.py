"""What trials have cost in earlier sweeps, for ``zskt plan``: the best estimate of what such a trial will cost again.

What each field of a config costs stands at the field (``trainables.config.roles.Cost``): alike are trials that equal the
planned one in every field that changes the work.
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
    """Where a planned trial would run."""

    on_gpu: bool
    threads: int
    gpus: float | None = None
    """GPUs of each trial, or its part of one; none: any, as trials take what a session finds best."""

    node_types: Collection[str] = ()
    """Types of its machines, as in the column ``node_type``."""

    own_machines: bool = False
    """Or any that is known by its host's name alone, as machines of one's own are: their list may have addresses."""

    device_name: str | None = None
    """Or processors like this machine's; none: it would not run here."""

    def had(self, row: TrialRecord) -> bool:
        """Whether the trial of a row ran there, or where it takes as long."""
        here = self.device_name is not None and row.device_name == self.device_name
        device = "cuda" if self.on_gpu else "cpu"
        same = row.device == device and row.threads == self.threads
        own = self.own_machines and row.node_type is not None and row.node_type == row.hostname
        return same and (here or own or row.node_type in self.node_types) and self._shared_alike(row)

    def _shared_alike(self, row: TrialRecord) -> bool:
        """Whether it held as much of a GPU. Setting up and lost work are held too, so that a row may show more than its
        trial had, but not less; half and twice as much are told apart."""
        if not self.on_gpu:
            return True
        if row.gpu_seconds is None:  # of a version that did not count it
            return False
        held = row.gpu_seconds / (row.training_seconds + row.evaluation_seconds)
        return self.gpus is None or (held >= 0.9 * self.gpus and (self.gpus >= 1 or held < 1.8 * self.gpus))


@dataclass(frozen=True, kw_only=True)
class PastCosts:
    """Says what ended trials of the same kind have taken and cost."""

    trials: int
    machines: Sequence[str]
    """Types on which they ran."""

    seconds: tuple[float, float]
    """For the work of the planned trial: each machine's median, from the fastest to the slowest."""

    gpu_hours: tuple[float, float]
    """Likewise."""

    usd: tuple[float, float] | None
    """The cheapest and the dearest of them; none where no price was known."""


def past_costs(store: ObjectStore, config: AnyTrialConfig, place: Place) -> PastCosts | None:
    """Return what trials like the planned one took in the sweeps of a storage; None if there were none.

    Args:
        store: Where earlier sweeps are.
        config: The planned trial.
        place: Where it would run.
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
    """Whether the trial of a row tells what the planned one will take."""
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
    """What a field's value changes of the work."""
    match cost:
        case Cost.EQUAL:
            return value
        case Cost.SWITCH:
            return bool(value)
        case Cost.AMOUNT | Cost.COLUMN | Cost.NONE:
            return None


def _seconds(row: TrialRecord, config: AnyTrialConfig) -> float:
    """For the planned trial, at the speed of a row's."""
    theirs = row.config
    done: int = row.metrics[config.unit]
    more = config.budget * unit_work(config).flops / (done * unit_work(theirs).flops)
    more_reports = config.reports / -(-done // theirs.report_interval)
    return more * row.training_seconds + more_reports * row.evaluation_seconds


def _medians(values: Mapping[str, Any]) -> tuple[float, float]:
    """The smallest and the largest of the machines' medians."""
    medians = [statistics.median(of_machine) for of_machine in values.values()]
    return min(medians), max(medians)
