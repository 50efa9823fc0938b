"""The Arrow schemas of the three tables, made from the configs and the metrics table so that they cannot disagree.

A swept or fixed setting is a column ``config_<field>``; a metric has its plain name. Each field carries its description
and unit as metadata.
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
    """Return the type of a field's column, from the field's own: of several the first, and None is a null."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(parts[0])
    if origin in {Union, UnionType}:
        return _arrow_type(next(part for part in parts if part is not type(None)))
    return _TYPES[type(parts[0]) if origin is Literal else annotation]


_METRIC_FIELDS = [_field(m.name, _TYPES[m.kind], m.description, m.unit) for m in METRICS]


def _config_fields() -> list[pa.Field]:
    """A column for each field of any method's config but those with a column of their own where they are given; one that a
    method does not have is null there."""
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
    _field("device_name", pa.string(), "What the maker calls that GPU or CPU."),
    _field("threads", pa.int64(), "Threads that torch used; bits on a CPU depend on it.", "count"),
    _field("compiled", pa.bool_(), "Whether torch compiled the loop; bits depend on it."),
]
MACHINE_COLUMNS = tuple(field.name for field in _MACHINE_FIELDS)
"""What a report says of where and how it was made, beside its metrics."""

_COST_FIELDS = [
    _field("node_type", pa.string(), "Type of that machine: the cloud's name, else the cluster's, else the host's."),
    _field(
        "gpu_seconds",
        pa.float64(),
        "Seconds for which GPUs were held so far, half a GPU counting half; summed over all processes that ran the trial.",
        "s",
    ),
    _field(
        "cost_usd",
        pa.float64(),
        "What the trial's share of its machines has cost so far, over all processes; null where one has no price.",
        "USD",
    ),
]
COST_COLUMNS = tuple(field.name for field in _COST_FIELDS)
"""What the driver adds to a report and a trial: see ``orchestrator.costs.ledger``."""

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
        _field("trial_number", pa.int64(), "Its number in the Optuna study, from 0."),
        _field("case", pa.string(), "Name of its case, in a sweep that is a list of cases."),
        _field("state", pa.string(), "completed, stopped_early, diverged or failed."),
        _field("error", pa.string(), "Why it failed; empty for other states."),
        _field("objective", pa.float64(), "Value of the sweep's objective at the last report."),
        _field("feasible", pa.bool_(), "Whether the last report keeps the sweep's constraints."),
        _field(
            "recoveries", pa.int64(), "How often it was continued after its process died, in its last session.", "count"
        ),
        _field(
            "recovery_causes_json", pa.string(), "Of what: a JSON object of causes with how often each; null if never."
        ),
        _field("ended_at", _TIME, "When the driver learnt that it had ended.", "UTC"),
        _field("teacher_sha256", pa.string(), "Checksum of the teacher's weights."),
        _field(
            "teacher_validation_accuracy", pa.float64(), "Teacher's accuracy on the same images.", "share in [0, 1]"
        ),
        _field("teacher_test_accuracy", pa.float64(), "Teacher's accuracy on the test split.", "share in [0, 1]"),
        *_CONFIG_FIELDS,
        *_METRIC_FIELDS,
        *_MACHINE_FIELDS,
        *_COST_FIELDS,
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""One row for each trial that has ended, however it ended; metrics are those of its last report, or null."""

SWEEPS = pa.schema(
    [
        _field("session", pa.int64(), "Number of the session, from 0; each start of a sweep is one."),
        _field("event", pa.string(), "started, finished, interrupted, out of budget or failed."),
        _field("at", _TIME, "When.", "UTC"),
        _field(
            "config_json", pa.string(), "The whole SweepConfig of the session, with what it has settled or measured."
        ),
        _field("objective", pa.string(), "Metric that the search optimises."),
        _field("searched_json", pa.string(), "Fields of the trial that the search varies, as a JSON list."),
        _field("domains_json", pa.string(), "What they are drawn from: each field's domain, as Optuna writes it."),
        _field(
            "informed_by_json",
            pa.string(),
            "Trials of other sweeps that inform the sampler, a JSON list of their names.",
        ),
        _field(
            "sharing_json",
            pa.string(),
            "Where `gpu: auto` let trials share GPUs: what was measured of several processes on one, as JSON.",
        ),
        _field(
            "code_json",
            pa.string(),
            "Each file of the user's own that the trials run: a JSON object by name, with its `sha256` and the `path` at "
            "which it lay. A copy of it is kept.",
        ),
        _field("code_version", pa.string(), "Version of this program, with the commit where it runs from a checkout."),
        _field("versions_json", pa.string(), "Versions of Python and the main libraries."),
        _field("hostname", pa.string(), "Machine of the driver."),
        _field("cpus", pa.float64(), "CPU cores of the cluster at that moment.", "count"),
        _field("gpus", pa.float64(), "GPUs of the cluster at that moment.", "count"),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""One row for the start and one for the end of each session of a sweep."""
