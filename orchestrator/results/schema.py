"""The Arrow schemas of the three tables, derived from the configs and the metrics table so that they cannot disagree.

A trial's setting, searched or fixed, is a column ``config_<field>``; a metric's column has the metric's name. Each column
carries its description and unit as metadata.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa

from trainables.config import config_classes
from trainables.config.roles import Column
from trainables.metrics import METRICS

SCHEMA_VERSION = "1"
CONFIG_PREFIX = "config_"

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}


def _field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(
        name, kind, metadata={"description": description, "unit": unit} if unit else {"description": description}
    )


def _arrow_type(annotation: Any) -> pa.DataType:
    """Return the Arrow type of a field's column: of a union the first type other than None, which becomes null."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(parts[0])
    if origin in {Union, UnionType}:
        return _arrow_type(next(part for part in parts if part is not type(None)))
    return _TYPES[type(parts[0]) if origin is Literal else annotation]


_METRIC_FIELDS = [_field(m.name, _TYPES[m.kind], m.description, m.unit) for m in METRICS]


def _config_fields() -> list[pa.Field]:
    """Return a column for each field of all methods' configs, but for fields marked ``Column.WHERE_GIVEN``.

    A field that a trial's method does not have is null in the trial's row.
    """
    fields: dict[str, pa.Field] = {}
    for model in config_classes():
        descriptions = model.descriptions()
        for name, field in model.model_fields.items():
            if Column.WHERE_GIVEN in field.metadata:
                continue
            column = CONFIG_PREFIX + name
            fields.setdefault(column, _field(column, _arrow_type(field.annotation), descriptions.get(name, "")))
    return list(fields.values())


_CONFIG_FIELDS = _config_fields()
_MACHINE_FIELDS = [
    _field("hostname", pa.string(), "Machine that made the last report."),
    _field("device", pa.string(), "cpu or cuda."),
    _field("device_name", pa.string(), "Model name of the GPU or CPU used."),
    _field(
        "threads",
        pa.int64(),
        "Number of threads that torch used, on which the exact bits of results on a CPU depend.",
        "count",
    ),
    _field("compiled", pa.bool_(), "Whether torch compiled the loop, on which the exact bits of results depend."),
]
MACHINE_COLUMNS = tuple(field.name for field in _MACHINE_FIELDS)
"""Columns that tell on which machine and how a report was made."""

_COST_FIELDS = [
    _field(
        "node_type", pa.string(), "Type of the machine as named by the cloud, else by the cluster, else its hostname."
    ),
    _field(
        "gpu_seconds",
        pa.float64(),
        "Seconds for which the trial has held GPUs so far, a share of a GPU counting as that share; summed over all of the "
        "trial's processes.",
        "s",
    ),
    _field(
        "cost_usd",
        pa.float64(),
        "Cost so far of the trial's share of its machines, over all of its processes; null if a machine has no price.",
        "USD",
    ),
]
COST_COLUMNS = tuple(field.name for field in _COST_FIELDS)
"""Columns that the driver adds to the rows of reports and trials: see ``orchestrator.costs.ledger``."""

REPORTS = pa.schema(
    [
        _field("trial_id", pa.string(), "The trial, unique in its sweep."),
        _field("reported_at", _TIME, "When the driver received the report.", "UTC"),
        *_METRIC_FIELDS,
        *_MACHINE_FIELDS,
        *_COST_FIELDS,
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""One row for each report of a trial."""

TRIALS = pa.schema(
    [
        _field("trial_id", pa.string(), "The trial, unique in its sweep."),
        _field("trial_number", pa.int64(), "The trial's number in the Optuna study, from 0."),
        _field("case", pa.string(), "Name of the trial's case; null in a search."),
        _field("state", pa.string(), "completed, stopped_early, diverged or failed."),
        _field("error", pa.string(), "Why the trial failed; empty for other states."),
        _field("objective", pa.float64(), "Value of the sweep's objective at the last report."),
        _field("feasible", pa.bool_(), "Whether the last report satisfies the sweep's constraints."),
        _field(
            "recoveries",
            pa.int64(),
            "How often the trial was resumed after its process died, in its last session.",
            "count",
        ),
        _field(
            "recovery_causes_json",
            pa.string(),
            "Causes of the recoveries: a JSON object of counts by cause; null if there were none.",
        ),
        _field("ended_at", _TIME, "When the driver learnt that the trial had ended.", "UTC"),
        _field("teacher_sha256", pa.string(), "Checksum of the teacher's weights."),
        _field(
            "teacher_validation_accuracy",
            pa.float64(),
            "Teacher's accuracy on the images of `validation_accuracy`.",
            "share in [0, 1]",
        ),
        _field("teacher_test_accuracy", pa.float64(), "Teacher's accuracy on the test split.", "share in [0, 1]"),
        *_CONFIG_FIELDS,
        *_METRIC_FIELDS,
        *_MACHINE_FIELDS,
        *_COST_FIELDS,
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""One row for each trial that has ended in any state; metrics are those of the trial's last report, or null."""

SWEEPS = pa.schema(
    [
        _field("session", pa.int64(), "Number of the session, from 0; each start of the sweep begins a session."),
        _field("event", pa.string(), "started, finished, interrupted, out of budget or failed."),
        _field("at", _TIME, "When the event happened.", "UTC"),
        _field(
            "config_json",
            pa.string(),
            "The whole SweepConfig of the session, including values that it chose or measured.",
        ),
        _field("objective", pa.string(), "Metric that the search optimises."),
        _field("searched_json", pa.string(), "Fields of the trial that the search varies, as a JSON list."),
        _field(
            "domains_json", pa.string(), "Domain of each searched field, as Optuna writes it; a JSON object by field."
        ),
        _field(
            "informed_by_json",
            pa.string(),
            "Trials of other sweeps that inform the sampler, as a JSON list of their names.",
        ),
        _field(
            "sharing_json",
            pa.string(),
            "With `gpu: auto`: the measurement of several processes sharing one GPU, as JSON.",
        ),
        _field(
            "code_json",
            pa.string(),
            "The user's own files that the trials run: a JSON object by file name of each file's `sha256` and original "
            "`path`. A copy of each file is kept.",
        ),
        _field("code_version", pa.string(), "Version of this program, with the commit if it runs from a checkout."),
        _field("versions_json", pa.string(), "Versions of Python and the main libraries."),
        _field("hostname", pa.string(), "Machine of the driver."),
        _field("cpus", pa.float64(), "CPU cores of the cluster at that time.", "count"),
        _field("gpus", pa.float64(), "GPUs of the cluster at that time.", "count"),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""One row for the start and one row for the end of each session of a sweep."""
