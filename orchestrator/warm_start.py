"""Begins a search with what other sweeps have found: their completed trials inform the sampler from the first proposal on.

The trials that were taken are kept with the study when a sweep begins, so that a later session proposes the same even if
the other sweeps have gone on meanwhile. They are no trials of this sweep: they have no number, no row and no rung.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial

from orchestrator.config import MEASURING_FIELDS, SEEDS, SHARED_FIELDS, SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.leaderboard import read_leaderboard
from orchestrator.results import Row
from orchestrator.results.schema import CONFIG_PREFIX
from orchestrator.samplers import contains
from trainables.object_store import ObjectStore

_ATTRIBUTE = "warm_start"

_MAY_DIFFER = {*SEEDS, *MEASURING_FIELDS}
_OF_BUDGET = {"total_pseudo_batches", "learning_rate_horizon"}

PastTrial = dict[str, Any]
"""``params`` by field, and ``values`` of the objectives."""


def past_trials(
    study: Study,
    store: ObjectStore,
    sweep: SweepConfig,
    domains: Mapping[str, BaseDistribution],
    *,
    say: Callable[[str], None],
) -> list[FrozenTrial]:
    """Completed trials of the sweeps that ``warm_start`` names, as the sampler takes them.

    Only trials count whose values can be compared with this sweep's: of the same data, networks and budget, with settings
    inside of what is searched.

    Raises:
        ConfigError: a sweep has no such trial.
        SweepNotFoundError: there is no such sweep.
    """
    kept: list[PastTrial] | None = study.user_attrs.get(_ATTRIBUTE)
    if kept is None:
        kept = [trial for sweep_id in sweep.warm_start for trial in _usable(store, sweep_id, sweep, domains, say)]
        if kept:
            study.set_user_attr(_ATTRIBUTE, kept)
    return [
        create_trial(
            params=trial["params"],
            distributions={field: domains[field] for field in trial["params"]},
            values=trial["values"],
        )
        for trial in kept
    ]


def _usable(
    store: ObjectStore,
    sweep_id: str,
    sweep: SweepConfig,
    domains: Mapping[str, BaseDistribution],
    say: Callable[[str], None],
) -> list[PastTrial]:
    board = read_leaderboard(store, sweep_id)
    if board.sweep.equal_budget != sweep.equal_budget:
        raise ConfigError(
            f"warm_start: {sweep_id} has budget={board.sweep.equal_budget}, this sweep {sweep.equal_budget}; equal ones are "
            "needed"
        )
    wanted = sweep.configs()[0].model_dump()
    compared = (set(SHARED_FIELDS) | sweep.trial.keys()) - _MAY_DIFFER - (_OF_BUDGET if sweep.equal_budget else set())
    same = {field: wanted[field] for field in sorted(compared & wanted.keys())}
    reasons: dict[str, int] = {}
    found = []
    for row in board.candidates:
        reason = _why_not(row, same, sweep, domains)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            params = {field: row[CONFIG_PREFIX + field] for field in domains if row[CONFIG_PREFIX + field] is not None}
            found.append({"params": params, "values": [row[name] for name in sweep.directions]})
    left_out = "; ".join(f"{count} left out: {reason}" for reason, count in reasons.items())
    if not found:
        raise ConfigError(
            f"warm_start: {sweep_id} has no completed trial to begin with{f' ({left_out})' * bool(left_out)}"
        )
    say(f"begins with what {len(found)} trials of {sweep_id} found" + (f"; {left_out}" if left_out else ""))
    return found


def _why_not(
    row: Row, same: Mapping[str, Any], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> str | None:
    """Why a trial's values say nothing here, none if they do: its fields must be the ``same`` or inside of what varies."""
    for field, value in same.items():
        if row[CONFIG_PREFIX + field] != value:
            return f"{field}={row[CONFIG_PREFIX + field]}, here {value}"
    for field, domain in domains.items():
        value = row[CONFIG_PREFIX + field]
        if value is not None and not contains(domain, value):
            return f"{field} outside of what is searched here"
    missing = [name for name in sweep.directions if row[name] is None]
    return f"no {missing[0]}" if missing else None
