"""Writes a trial's row again where the study knows that it ended and its row cannot be read.

The study has the trial's settings and how it ended, the reports what it measured last, and so nothing is lost with one
truncated object. How often the trial was continued, and what exactly it failed of, stood in the row alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from orchestrator.config import SweepConfig
from orchestrator.results import ResultReader, ResultWriter, Row, read_reports
from orchestrator.results.schema import CONFIG_PREFIX, EXPENSE_COLUMNS, MACHINE_COLUMNS
from orchestrator.search.outcomes import ended_state
from orchestrator.search.study import CONFIG_ATTRIBUTE, assignment_of, ended_trials
from orchestrator.storage import layout
from trainables.metrics import METRICS
from trainables.storage.object_store import ObjectStore

_REPORTED = [*(metric.name for metric in METRICS), *MACHINE_COLUMNS, *EXPENSE_COLUMNS]
_TEACHER = ("teacher_sha256", "teacher_validation_accuracy", "teacher_test_accuracy")


def restore_rows(
    store: ObjectStore, study: optuna.Study, sweep: SweepConfig, sweep_id: str, *, say: Callable[[str], None]
) -> None:
    """Write the missing rows of trials that have ended, if there are any."""
    table, damaged = ResultReader(store).read_with_damages("trials", sweep_id)
    rows: list[Row] = table.to_pylist()
    known = {row["trial_id"] for row in rows}
    begun = [trial for trial in ended_trials(study) if CONFIG_ATTRIBUTE in trial.user_attrs]
    lost = [trial for trial in begun if layout.trial_name(trial.number) not in known]
    if not lost or not damaged:
        return
    say(f"cannot be read: {', '.join(store.shown(key) for key in damaged)}")
    last = {row["trial_id"]: row for row in read_reports(store, sweep_id).to_pylist()}
    writer = ResultWriter(store, sweep_id)
    for trial in lost:
        name = layout.trial_name(trial.number)
        row = _row(trial, last.get(name, {}), rows, sweep)
        if row["state"] in {"completed", "stopped_early"} and name not in last:
            say(f"{name}: its row is lost, and its last report too")
            continue
        writer.write_trial(row)
        say(f"{name}: its row was lost and has been written again from its last report and the study")


def _row(trial: FrozenTrial, report: Row, others: list[Row], sweep: SweepConfig) -> Row:
    settings = json.loads(trial.user_attrs[CONFIG_ATTRIBUTE])
    assignment = assignment_of(trial)
    state = ended_state(trial)
    columns = {CONFIG_PREFIX + name: value for name, value in settings.items()}
    same_teacher = [name for name in columns if name.startswith((f"{CONFIG_PREFIX}dataset", f"{CONFIG_PREFIX}teacher"))]
    other: dict[str, Any] = next((row for row in others if all(row[n] == columns[n] for n in same_teacher)), {})
    ended = trial.datetime_complete
    return {
        "trial_id": layout.trial_name(trial.number),
        "trial_number": trial.number,
        "case": assignment.case if assignment else None,
        "state": "diverged" if state == "failed" and report.get("diverged") else state,
        "error": "not known: its row was damaged" if state == "failed" and not report.get("diverged") else "",
        "objective": report.get(sweep.objective) if sweep.objective else None,
        "feasible": sweep.keeps_constraints(report),
        "recoveries": None,
        "ended_at": ended.astimezone(UTC) if ended else None,
        **{name: other.get(name) for name in _TEACHER},
        **columns,
        **{name: report.get(name) for name in _REPORTED},
    }
