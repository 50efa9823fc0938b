"""Makes the study of a sweep anew from its rows, reports and checkpoints, should its file be lost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.config import Assignment, SweepConfig
from orchestrator.results import Row, config_of, read_reports, read_trials
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.search.outcomes import told_state, told_values, told_violations
from orchestrator.search.study import ASSIGNMENT_ATTRIBUTE, CONFIG_ATTRIBUTE, DIVERGED_ATTRIBUTE
from orchestrator.storage import layout
from trainables.config import AnyTrialConfig, config_class
from trainables.metrics import finite
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore


def rebuild_study(
    study: optuna.Study,
    store: ObjectStore,
    sweep: SweepConfig,
    sweep_id: str,
    domains: Mapping[str, BaseDistribution],
) -> int:
    """Fill an empty study with the trials that the sweep is known to have had.

    A trial that had not ended goes on from its checkpoint with the settings in there; one that has none yet is asked for
    anew.

    Args:
        study: The sweep's, without trials.
        store: The sweep's storage.
        sweep: What was run.
        sweep_id: Its name.
        domains: What a search varies.

    Returns:
        How many trials were found.
    """
    rows = {row["trial_number"]: row for row in read_trials(store, sweep_id).to_pylist()}
    checkpoints = store.below(layout.checkpoint_folder(sweep_id))
    left = {int(key.partition("/")[0][1:]) for key in checkpoints.keys("") if "/" in key}
    reports: dict[str, list[Row]] = defaultdict(list)
    for report in read_reports(store, sweep_id).to_pylist():
        reports[report["trial_id"]].append(report)
    numbers = range(1 + max([*rows, *left, *(int(trial_id[1:]) for trial_id in reports)], default=-1))
    for number in numbers:
        name = layout.trial_name(number)
        if number in rows:
            study.add_trial(_ended(rows[number], reports[name], sweep, domains))
        else:
            state = CheckpointStore(checkpoints).load_newest(name, warn=lambda line: None)
            settings = state["config"] if state else {}
            config = config_class(settings).model_validate(settings) if settings else None
            study.add_trial(_running(config, reports[name], sweep, domains))
    return len(numbers)


def _ended(row: Row, reports: list[Row], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> FrozenTrial:
    config = config_of(row)
    params = _params(config, domains)
    state = told_state(row["state"])
    share = sweep.share_used(config, row) if row[config.unit] is not None else 0
    attributes: dict[str, Any] = {CONFIG_ATTRIBUTE: json.dumps(config.model_dump())}
    if row["state"] == "diverged":
        attributes[DIVERGED_ATTRIBUTE] = True
    if row["case"] is not None:
        attributes[ASSIGNMENT_ATTRIBUTE] = asdict(Assignment(case=row["case"], seed=row[CONFIG_PREFIX + "seed"]))
    intermediate = _intermediate(config, reports, sweep)
    values = None
    if state is TrialState.COMPLETE:
        values = told_values(sweep, row)
    elif state is TrialState.PRUNED and len(sweep.directions) == 1 and intermediate:
        values = [intermediate[max(intermediate)]]  # as Optuna keeps it
    return create_trial(
        state=state,
        values=values,
        params=params,
        distributions={field: domains[field] for field in params},
        intermediate_values=intermediate,
        user_attrs=attributes,
        constraints=told_violations(sweep, row["state"], row, share),
    )


def _running(
    config: AnyTrialConfig | None, reports: list[Row], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    if config is None:
        return create_trial(state=TrialState.RUNNING)
    params = _params(config, domains)
    attributes: dict[str, Any] = {CONFIG_ATTRIBUTE: config.model_dump_json()}
    for assignment in sweep.assignments():
        if _same_but_for_start(sweep.case_config(assignment), config):
            attributes[ASSIGNMENT_ATTRIBUTE] = asdict(assignment)
    return create_trial(
        state=TrialState.RUNNING,
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
