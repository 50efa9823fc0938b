"""Warm start of a search: completed trials of other sweeps inform the sampler from the first proposal on.

The names of these trials are stored with the sweep's first session, so that later sessions propose the same settings even
if the other sweeps have grown since, or the study was lost. The trials are not part of this sweep: they have no number, no
row and no rung in it.
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
    """Return completed trials of the sweeps in ``warm_start``, in the sampler's form, by ``SWEEP/TRIAL``.

    Only trials whose values are comparable with this sweep's are used: equal data, networks and budget, the same teacher if
    the objective is a data-free score, and settings inside the search space. Once a session of the sweep has chosen trials,
    later sessions use the same ones.

    Args:
        sweep_store: The sweep that starts or is resumed; the other sweeps are on its storage.
        sweep: Config of the sweep.
        domains: Domains of the fields that the sweep varies.
        say: Function called with a message about the trials used, and about those left out and why.

    Raises:
        ConfigError: another sweep cannot be compared with this one or has no comparable trial, or a trial used by an earlier
            session is gone.
        SweepNotFoundError: a sweep does not exist.
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
            f"warm_start: this sweep began with {', '.join(missing)}, which the storage no longer has; restore these rows, "
            "or start a new sweep with --sweep-id"
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
            f"warm_start: {sweep_id} has budget={board.sweep.equal_budget}, this sweep {sweep.equal_budget}; the budgets "
            "must be equal"
        )
    _check_same_files(results, sweep, domains)
    method = type(sweep.configs()[0])
    may_differ = {*seed_fields(method), *weightless_fields(method)}
    if not sweep.selects_on.isdisjoint(DATA_FREE_METRICS):
        may_differ -= {*teacher_fields(method)}  # scores depend on the teacher's own probe set
        if board.sweep.teacher_recipe != sweep.teacher_recipe:
            raise ConfigError(
                f"warm_start: the teacher of {sweep_id} was trained by another recipe; data-free scores are comparable "
                "between students of one teacher only"
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
            f"warm_start: {sweep_id} has no completed trial that can be used{f' ({left_out})' * bool(left_out)}"
        )
    say(f"warm start from {len(found)} trials of {sweep_id}" + (f"; {left_out}" if left_out else ""))
    return found


def _check_same_files(results: SweepResults, sweep: SweepConfig, domains: Mapping[str, BaseDistribution]) -> None:
    """Check that files of the user's own with equal names, such as a network's, are equal in both sweeps.

    Raises:
        ConfigError: the other sweep ran a different file under the same name.
    """
    sessions = results.sessions()
    then = sessions[-1].code if sessions else {}
    choices = [getattr(domain, "choices", ()) for domain in domains.values()]
    for name, sha256 in checksums([sweep.configs()[0].model_dump(), *choices]).items():
        if name in then and then[name].sha256 != sha256:
            raise ConfigError(
                f"warm_start: {results.sweep_id} ran another {name} (sha256 {then[name].sha256[:12]} there, {sha256[:12]} "
                "here), so its trials are not comparable"
            )


def _why_not(
    row: TrialRecord, same: Mapping[str, Any], sweep: SweepConfig, domains: Mapping[str, BaseDistribution]
) -> str | None:
    """Return why a trial is not comparable with this sweep's; None if it is.

    A comparable trial's fields are equal to ``same``, its searched fields lie inside ``domains``, and it has all objectives.
    """
    for field, value in same.items():
        if row.settings[field] != value:
            return f"{field}={row.settings[field]}, here {value}"
    for field, domain in domains.items():
        value = row.settings[field]
        if value is not None and not contains(domain, value):
            return f"{field} outside of the search space"
    missing = [name for name in sweep.directions if row.metrics[name] is None]
    return f"no {missing[0]}" if missing else None
