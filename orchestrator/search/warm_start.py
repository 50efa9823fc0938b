"""Begins a search with what other sweeps have found: their completed trials inform the sampler from the first proposal on.

Which trials were taken is kept with the sweep's first session, so that a later one proposes the same even if the other
sweeps have gone on meanwhile, or the study was lost. They are no trials of this sweep: they have no number, no row and no
rung.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial

from orchestrator.analysis.leaderboard import read_leaderboard
from orchestrator.config import SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.results import SweepResults, TrialRecord
from orchestrator.samplers.independent import contains
from orchestrator.storage import SweepStore
from trainables.config import length_fields, seed_fields, shared_fields, teacher_fields, weightless_fields
from trainables.metrics import DATA_FREE_METRICS
from trainables.system.own_files import checksums


def past_trials(
    sweep_store: SweepStore,
    sweep: SweepConfig,
    domains: Mapping[str, BaseDistribution],
    *,
    say: Callable[[str], None],
) -> dict[str, FrozenTrial]:
    """Completed trials of the sweeps that ``warm_start`` names, as the sampler takes them, by ``SWEEP/TRIAL``.

    Only trials count whose values can be compared with this sweep's: of the same data, networks and budget, for a score
    without data of one teacher, with settings inside of what is searched. Once a session of the sweep has taken some, they
    stay the same.

    Args:
        sweep_store: The sweep that begins, or goes on; the others are on its storage.
        sweep: Its config.
        domains: What it varies.
        say: Is told what was taken, and what was left out and why.

    Raises:
        ConfigError: a sweep has no such trial.
        SweepNotFoundError: there is no such sweep.
    """
    results = SweepResults(sweep_store)
    kept = [session.informed_by for session in results.sessions() if session.informed_by is not None]
    if kept:
        return _taken_before(results, kept[-1], sweep, domains)
    return {
        name: _as_trial(row, sweep, domains)
        for other in sweep.warm_start
        for name, row in _usable(results.sibling(other), sweep, domains, say).items()
    }


def _taken_before(
    results: SweepResults, names: list[str], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> dict[str, FrozenTrial]:
    others = dict.fromkeys(name.partition("/")[0] for name in names)
    boards = [read_leaderboard(results.sibling(other)) for other in others]
    rows = {f"{board.sweep_id}/{row.trial_id}": row for board in boards for row in board.rows}
    missing = [name for name in names if name not in rows]
    if missing:
        raise ConfigError(
            f"warm_start: this sweep began with {', '.join(missing)}, which the storage has no longer; bring the rows back, "
            "or begin anew with --sweep-id"
        )
    return {name: _as_trial(rows[name], sweep, domains) for name in names}


def _as_trial(row: TrialRecord, sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> FrozenTrial:
    params = {field: row.settings[field] for field in domains if row.settings[field] is not None}
    return create_trial(
        params=params,
        distributions={field: domains[field] for field in params},
        values=[row.metrics[name] for name in sweep.directions],
    )


def _usable(
    results: SweepResults,
    sweep: SweepConfig,
    domains: Mapping[str, BaseDistribution],
    say: Callable[[str], None],
) -> dict[str, TrialRecord]:
    board, sweep_id = read_leaderboard(results), results.sweep_id
    if board.sweep.equal_budget != sweep.equal_budget:
        raise ConfigError(
            f"warm_start: {sweep_id} has budget={board.sweep.equal_budget}, this sweep {sweep.equal_budget}; equal ones are "
            "needed"
        )
    _check_same_files(results, sweep, domains)
    method = type(sweep.configs()[0])
    may_differ = {*seed_fields(method), *weightless_fields(method)}
    if not sweep.selects_on.isdisjoint(DATA_FREE_METRICS):
        may_differ -= {*teacher_fields(method)}  # each teacher has images of its own, on which it scores
        if board.sweep.teacher_recipe != sweep.teacher_recipe:
            raise ConfigError(
                f"warm_start: the teacher of {sweep_id} was trained by another recipe; scores without data compare students "
                "of one teacher"
            )
    wanted = sweep.configs()[0].model_dump()
    if sweep.equal_budget:
        may_differ |= {*length_fields(method)}
    compared = {*shared_fields(method), *sweep.trial} - may_differ
    same = {field: wanted[field] for field in sorted(compared & wanted.keys())}
    reasons: dict[str, int] = {}
    found: dict[str, TrialRecord] = {}
    for row in board.candidates:
        reason = _why_not(row, same, sweep, domains)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            found[f"{sweep_id}/{row.trial_id}"] = row
    left_out = "; ".join(f"{count} left out: {reason}" for reason, count in reasons.items())
    if not found:
        raise ConfigError(
            f"warm_start: {sweep_id} has no completed trial to begin with{f' ({left_out})' * bool(left_out)}"
        )
    say(f"begins with what {len(found)} trials of {sweep_id} found" + (f"; {left_out}" if left_out else ""))
    return found


def _check_same_files(results: SweepResults, sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> None:
    """Refuse trials of a network or the like that has only the name in common with this sweep's.

    Raises:
        ConfigError: a file of the user's own is another one there.
    """
    sessions = results.sessions()
    then = sessions[-1].code if sessions else {}
    choices = [getattr(domain, "choices", ()) for domain in domains.values()]
    for name, sha256 in checksums([sweep.configs()[0].model_dump(), *choices]).items():
        if name in then and then[name].sha256 != sha256:
            raise ConfigError(
                f"warm_start: {results.sweep_id} ran another {name} (sha256 {then[name].sha256[:12]} there, {sha256[:12]} "
                "here), so what it found says nothing here"
            )


def _why_not(
    row: TrialRecord, same: Mapping[str, Any], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> str | None:
    """Why a trial's values say nothing here, none if they do: its fields must be the ``same`` or inside of what varies."""
    for field, value in same.items():
        if row.settings[field] != value:
            return f"{field}={row.settings[field]}, here {value}"
    for field, domain in domains.items():
        value = row.settings[field]
        if value is not None and not contains(domain, value):
            return f"{field} outside of what is searched here"
    missing = [name for name in sweep.directions if row.metrics[name] is None]
    return f"no {missing[0]}" if missing else None
