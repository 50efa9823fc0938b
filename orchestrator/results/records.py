"""Result rows as typed records: a trial that has ended, and a start or end of a session."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, get_args

from orchestrator.config import SweepConfig
from orchestrator.results.recoveries import CAUSES
from orchestrator.results.schema import CONFIG_PREFIX, TRIALS
from trainables.config import AnyTrialConfig, config_class, config_classes
from trainables.config.methods import readable
from trainables.config.trial import is_own_metric
from trainables.metrics import METRICS
from trainables.system.own_files import distrust

Row = dict[str, Any]
"""One row of a table: values by column name."""

_BEFORE = {"numerics": "exact"}
"""Values under which trials ran before a field existed, for fields whose default is another value."""


class Metrics(dict[str, Any]):
    """Values of metrics by name; None for a metric of the user's own that was not measured."""

    def __missing__(self, name: str) -> None:
        """Return None for a metric of the user's own, which was not measured; raise KeyError for any other name."""
        if not is_own_metric(name):
            raise KeyError(name)


class Settings(dict[str, Any]):
    """Values of a trial's fields by name; None for a field without a column, which was never given a value."""

    def __missing__(self, name: str) -> None:
        """Return None: the field was not given."""


_METRICS = tuple(metric.name for metric in METRICS)
_SETTINGS = tuple(dict.fromkeys(name for model in config_classes() for name in model.model_fields))


class TrialState(StrEnum):
    """State of a trial, ordered from the most to the least informative end. Values are those of the column ``state``."""

    COMPLETED = "completed"
    """The trial used its whole budget."""

    STOPPED_EARLY = "stopped_early"
    DIVERGED = "diverged"
    FAILED = "failed"

    RUNNING = "running"
    """The trial has not ended. Never found in a row, since a trial gets its row when it ends."""

    @property
    def word(self) -> str:
        """The state in words, such as ``stopped early``."""
        return self.replace("_", " ")

    @property
    def ended(self) -> bool:
        """Whether the trial has ended, and so has a row."""
        return self is not TrialState.RUNNING

    @property
    def has_result(self) -> bool:
        """Whether the trial's last metrics are a valid result: the trial neither diverged nor failed."""
        return self in {TrialState.COMPLETED, TrialState.STOPPED_EARLY}


ENDED = tuple(state for state in TrialState if state.ended)
"""States of an ended trial, from the most to the least informative."""


class SessionEvent(StrEnum):
    """Event of a session that a row of the table ``sweeps`` records. Values are those of the column ``event``."""

    STARTED = "started"
    FINISHED = "finished"
    """No trial is left."""

    INTERRUPTED = "interrupted"
    OUT_OF_BUDGET = "out of budget"
    """No further trial may start, since the sweep would spend more than its budget."""

    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial that has ended in any state. The columns are described in ``schema.TRIALS``."""

    sweep_id: str
    trial_id: str
    trial_number: int
    case: str | None
    state: TrialState
    error: str
    """Empty unless the trial failed."""

    objective: float | None
    feasible: bool | None
    recoveries: int | None
    recovery_causes: Counter[str]
    """How often each cause led to a recovery. Also empty in rows of versions that recorded only ``recoveries``."""

    ended_at: datetime
    teacher_sha256: str | None
    teacher_validation_accuracy: float | None
    teacher_test_accuracy: float | None
    settings: Mapping[str, Any]
    """Values of all fields of all methods' configs, and of further fields that only this row has. None for a field that the
    trial's method, or the version that wrote the row, did not have."""

    metrics: Mapping[str, Any]
    """Metrics of the last report by name, including the user's own metrics; None for a metric that was not measured."""

    hostname: str | None
    device: str | None
    device_name: str | None
    threads: int | None
    compiled: bool | None
    node_type: str | None
    gpu_seconds: float | None
    cost_usd: float | None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> TrialRecord:
        """Return the record of a row with all columns of ``schema.TRIALS`` and ``sweep_id``."""
        same = {name: row[name] for name in _SAME_IN_ROWS}
        further = {name: value for name, value in row.items() if name not in _COLUMNS}
        own = {name.removeprefix(CONFIG_PREFIX): v for name, v in further.items() if name.startswith(CONFIG_PREFIX)}
        own_metrics = {name: v for name, v in further.items() if not name.startswith(CONFIG_PREFIX)}
        settings = Settings({name: row.get(CONFIG_PREFIX + name) for name in _SETTINGS} | own)
        distrust(settings)
        return cls(
            **same,
            state=TrialState(row["state"]),
            error=row["error"] or "",
            recovery_causes=Counter(json.loads(row[CAUSES] or "{}")),
            settings=settings,
            metrics=Metrics({name: row[name] for name in _METRICS} | own_metrics),
        )

    @cached_property
    def config(self) -> AnyTrialConfig:
        """The trial's config. Fields added after the trial ran have the value under which the trial ran."""
        return kept_config(self.settings)

    @property
    def label(self) -> str:
        """Name of the trial in a legend: its case and seed, or in a search its id."""
        return self.trial_id if self.case is None else f"{self.case}, seed {self.settings['seed']}"

    @property
    def keeps_constraints(self) -> bool:
        """Whether the trial is not known to violate a constraint. Versions without constraints recorded nothing."""
        return self.feasible is not False

    @property
    def done(self) -> int | None:
        """Budget that the trial has used, in the unit of its config; None before the first report."""
        done: int | None = self.metrics[self.config.unit]
        return done

    @property
    def training_seconds(self) -> float:
        """Seconds of training; 0 before the first report."""
        return self.metrics["training_seconds"] or 0.0

    @property
    def evaluation_seconds(self) -> float:
        """Seconds of measuring; 0 before the first report."""
        return self.metrics["evaluation_seconds"] or 0.0

    @property
    def computing_seconds(self) -> float | None:
        """Seconds of training and measuring together; None before the first report."""
        return computing_seconds(self.metrics)


_BUILT = {"state", "error", "recovery_causes", "settings", "metrics"}
_COLUMNS = frozenset({"sweep_id", *TRIALS.names})
_SAME_IN_ROWS = tuple(field.name for field in fields(TrialRecord) if field.name not in _BUILT)


@dataclass(frozen=True, kw_only=True)
class KeptFile:
    """Record of a file of the user's own. The session also keeps a copy of the file."""

    sha256: str
    """In hexadecimal digits."""

    path: str
    """Path of the file on the driver's machine."""


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """A start or an end of a session. The columns are described in ``schema.SWEEPS``."""

    sweep_id: str
    session: int
    event: SessionEvent
    at: datetime
    config_json: str
    searched: list[str]
    domains_json: str | None
    informed_by: list[str] | None
    """Names of the trials of other sweeps that inform the sampler. None if they had not been chosen yet."""

    sharing_json: str | None
    code: dict[str, KeptFile]
    """Records of the user's own files, by name. Also empty in rows of versions that kept no such files."""

    code_version: str
    versions: dict[str, str]
    hostname: str
    cpus: float
    gpus: float

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> SessionRecord:
        """Return the record of a row with all columns of ``schema.SWEEPS`` and ``sweep_id``."""
        informed_by = row["informed_by_json"]
        return cls(
            **{name: row[name] for name in _SAME_IN_SESSIONS},
            event=SessionEvent(row["event"]),
            searched=json.loads(row["searched_json"]),
            informed_by=None if informed_by is None else json.loads(informed_by),
            code={name: KeptFile(**kept) for name, kept in json.loads(row["code_json"] or "{}").items()},
            versions=json.loads(row["versions_json"]),
        )

    @cached_property
    def config(self) -> SweepConfig:
        """The session's sweep config, including values that the session chose or measured."""
        return SweepConfig.stored(self.config_json)


_READ = {"event", "searched", "informed_by", "code", "versions"}
_SAME_IN_SESSIONS = tuple(field.name for field in fields(SessionRecord) if field.name not in _READ)


def computing_seconds(metrics: Mapping[str, Any]) -> float | None:
    """Return the total seconds of training and measuring in a trial's or a report's metrics; None before any training."""
    training = metrics["training_seconds"]
    return None if training is None else float(training + metrics["evaluation_seconds"])


def kept_config(settings: Mapping[str, Any]) -> AnyTrialConfig:
    """Return the config of a trial from the settings that this or an earlier version stored, without validation.

    Fields that the trial's method does not have are left out, unless the method is not available. A field that was added
    later is missing from the settings, or is None although its type does not allow None: the config then has the value
    under which the trial ran.
    """
    model = config_class(settings, stored=True)
    absent = [
        name
        for name, field in model.model_fields.items()
        if settings.get(name) is None and type(None) not in get_args(field.annotation)
    ]
    before = {name: _BEFORE[name] for name in absent if name in _BEFORE}
    known = model.model_fields if model.model_config.get("extra") == "forbid" else settings
    kept = {name: value for name, value in settings.items() if name in known and name not in absent}
    return readable(model.model_construct(**kept | before))
