"""Restores lost parts of a sweep: its study from rows, reports and checkpoints, and rows from the study and reports.

The study stores a trial's settings and final state, and the reports its last measurements, so that a single truncated
object can be restored. Only the number of the trial's recoveries and the exact cause of a failure are lost with a row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from orchestrator.config import Assignment, SweepConfig
from orchestrator.results import ResultWriter, Row, SweepResults, TrialRecord, TrialState
from orchestrator.results.schema import CONFIG_PREFIX, COST_COLUMNS, MACHINE_COLUMNS, REPORTS
from orchestrator.search.outcomes import ended_state, optuna_constraints, optuna_state, optuna_values
from orchestrator.search.study import (
    ASSIGNMENT_ATTRIBUTE,
    CONFIG_ATTRIBUTE,
    DIVERGED_ATTRIBUTE,
    assignment_of,
    ended_trials,
)
from orchestrator.storage import SweepStore, layout
from trainables.config import AnyTrialConfig, config_class
from trainables.config.plugins import STORED
from trainables.config.roles import Names, roles_of
from trainables.metrics import METRICS, finite
from trainables.storage.checkpoint import CheckpointStore

_REPORTED = [*(metric.name for metric in METRICS), *MACHINE_COLUMNS, *COST_COLUMNS]
_TEACHER = ("teacher_sha256", "teacher_validation_accuracy", "teacher_test_accuracy")


def rebuild_study(
    study: optuna.Study, sweep_store: SweepStore, sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> int:
    """Fill an empty study with the sweep's trials, from rows, reports and checkpoints.

    A trial that had not ended will be resumed from its checkpoint, with the settings stored there. A trial without
    checkpoint gets new settings.

    Args:
        study: Study of the sweep, without trials.
        sweep_store: The sweep on its storage.
        sweep: Config of the sweep.
        domains: Domains of the fields that a search varies.

    Returns:
        Number of trials added.
    """
    results, checkpoints = SweepResults(sweep_store), sweep_store.checkpoints
    rows = {row.trial_number: row for row in results.trials()}
    left = {int(trial_id[1:]) for trial_id in CheckpointStore(checkpoints).trial_ids()}
    reports: dict[str, list[Row]] = defaultdict(list)
    for report in results.reports():
        reports[report["trial_id"]].append(report)
    numbers = range(1 + max([*rows, *left, *(int(trial_id[1:]) for trial_id in reports)], default=-1))
    for number in numbers:
        name = layout.trial_name(number)
        if number in rows:
            study.add_trial(_ended(rows[number], reports[name], sweep, domains))
        else:
            state = CheckpointStore(checkpoints).load_newest(name, warn=lambda line: None)
            settings = state["config"] if state else {}
            config = config_class(settings, stored=True).model_validate(settings, context=STORED) if settings else None
            study.add_trial(_running(config, reports[name], sweep, domains))
    return len(numbers)


def _ended(
    row: TrialRecord, reports: list[Row], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    config = row.config
    params = _params(config, domains)
    state = optuna_state(row.state)
    share = sweep.share_used(config, row.metrics) if row.done is not None else 0
    attributes: dict[str, Any] = {CONFIG_ATTRIBUTE: json.dumps(config.model_dump())}
    if row.state is TrialState.DIVERGED:
        attributes[DIVERGED_ATTRIBUTE] = True
    if row.case is not None:
        attributes[ASSIGNMENT_ATTRIBUTE] = asdict(Assignment(case=row.case, seed=row.settings["seed"]))
    intermediate = _intermediate(config, reports, sweep)
    values = None
    if state is OptunaState.COMPLETE:
        values = optuna_values(sweep, row.metrics)
    elif state is OptunaState.PRUNED and len(sweep.directions) == 1 and intermediate:
        values = [intermediate[max(intermediate)]]  # Optuna does the same for a pruned trial
    return create_trial(
        state=state,
        values=values,
        params=params,
        distributions={field: domains[field] for field in params},
        intermediate_values=intermediate,
        user_attrs=attributes,
        constraints=optuna_constraints(sweep, row.state, row.metrics, share),
    )


def _running(
    config: AnyTrialConfig | None, reports: list[Row], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    if config is None:
        return create_trial(state=OptunaState.RUNNING)
    params = _params(config, domains)
    attributes: dict[str, Any] = {CONFIG_ATTRIBUTE: config.model_dump_json()}
    for assignment in sweep.assignments():
        if _same_but_for_start(sweep.case_config(assignment), config):
            attributes[ASSIGNMENT_ATTRIBUTE] = asdict(assignment)
    return create_trial(
        state=OptunaState.RUNNING,
        params=params,
        distributions={field: domains[field] for field in params},
        intermediate_values=_intermediate(config, reports, sweep),
        user_attrs=attributes,
    )


def _params(config: AnyTrialConfig, domains: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    values = {field: getattr(config, field) for field in domains}
    return {field: value for field, value in values.items() if value is not None or _holds_none(domains[field])}


def _holds_none(domain: BaseDistribution) -> bool:
    return None in getattr(domain, "choices", ())


def _intermediate(config: AnyTrialConfig, reports: list[Row], sweep: SweepConfig) -> dict[int, float]:
    if sweep.objective is None:
        return {}
    return {
        sweep.budget_used(config, report): value
        for report in reports
        if (value := finite(report[sweep.objective])) is not None
    }


def _same_but_for_start(one: AnyTrialConfig, other: AnyTrialConfig) -> bool:
    return one.model_dump(exclude={"initial_student"}) == other.model_dump(exclude={"initial_student"})


def restore_rows(
    sweep_store: SweepStore, study: optuna.Study, sweep: SweepConfig, *, say: Callable[[str], None]
) -> None:
    """Restore the unreadable rows of trials that have ended according to the study.

    Args:
        sweep_store: The sweep on its storage.
        study: Study of the sweep.
        sweep: Config of the sweep.
        say: Function called with a message about the objects that cannot be read, and about each lost row.
    """
    results = SweepResults(sweep_store)
    rows, damaged = results.trials_with_damages()
    known = {row.trial_id for row in rows}
    begun = [trial for trial in ended_trials(study) if CONFIG_ATTRIBUTE in trial.user_attrs]
    lost = [trial for trial in begun if layout.trial_name(trial.number) not in known]
    if not lost or not damaged:
        return
    say(f"cannot be read: {', '.join(sweep_store.storage.shown(key) for key in damaged)}")
    last = {report["trial_id"]: report for report in results.reports()}
    writer = ResultWriter(sweep_store)
    for trial in lost:
        name = layout.trial_name(trial.number)
        if ended_state(trial).has_result and name not in last:
            say(f"{name}: its row is lost, and its last report too")
            continue
        report = last.get(name, {})
        own = [metric for metric in report if metric not in {"sweep_id", *REPORTS.names}]
        writer.write_trial(_row(trial, report, rows, sweep) | {metric: report[metric] for metric in own}, own)
        say(f"{name}: its row was lost and has been written again from its last report and the study")


def _row(trial: FrozenTrial, report: Row, others: list[TrialRecord], sweep: SweepConfig) -> Row:
    settings = json.loads(trial.user_attrs[CONFIG_ATTRIBUTE])
    assignment = assignment_of(trial)
    state = ended_state(trial)
    if state is TrialState.FAILED and report.get("diverged"):
        state = TrialState.DIVERGED
    roles = roles_of(config_class(settings, stored=True))
    same_teacher = [name for name, role in roles.items() if name in settings and role.names is not Names.NOTHING]
    other = next((row for row in others if all(row.settings[n] == settings[n] for n in same_teacher)), None)
    ended = trial.datetime_complete
    return {
        "trial_id": layout.trial_name(trial.number),
        "trial_number": trial.number,
        "case": assignment.case if assignment else None,
        "state": state,
        "error": "unknown: the trial's row was damaged" if state is TrialState.FAILED else "",
        "objective": report.get(sweep.objective) if sweep.objective else None,
        "feasible": sweep.keeps_constraints(report),
        "recoveries": None,
        "ended_at": ended.astimezone(UTC) if ended else None,
        **{name: getattr(other, name, None) for name in _TEACHER},
        **{CONFIG_PREFIX + name: value for name, value in settings.items()},
        **{name: report.get(name) for name in _REPORTED},
    }
