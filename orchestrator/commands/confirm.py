"""Confirmation of a search: its best settings run again with new seeds, beside the published settings.

The best of many trials is partly the luckiest. The best few distinct settings therefore run again with seeds that the search
did not use, at full budget and without early stopping, and are compared with the published settings seed by seed. If too
few trials used their whole budget, settings whose trial was stopped early are included, since only a whole run shows how
good they are. A confirmation is a sweep of cases, so it is resumed, extended and stored like any other sweep.
"""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console

from orchestrator.analysis.cases import read_cases
from orchestrator.analysis.confirmation import Confirmation
from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.config import BASELINE, SweepConfig, SweepRole, sweep_fields
from orchestrator.errors import ConfigError
from orchestrator.run.sweep import BackendChoice, run_sweep
from orchestrator.storage import SweepStore, layout, open_storage
from trainables.config import seed_fields, teacher_fields


def confirmation_sweep(board: Leaderboard, *, top: int, seeds: int) -> tuple[str, SweepConfig]:
    """Return the id and the config of the sweep that confirms a search.

    Args:
        board: Leaderboard of the search.
        top: Number of best settings to confirm, in the order of the leaderboard.
        seeds: Number of new seeds, none of which the search used.

    Raises:
        ConfigError: there is nothing to confirm.
    """
    sweep = board.sweep
    if sweep.cases:
        raise ConfigError(f"{board.sweep_id} is a sweep of cases, which selects nothing: there is no winner to confirm")
    if sweep.scheduler.is_population:
        raise ConfigError(
            f"{board.sweep_id} is population-based training: it finds a sequence of settings, which cannot be confirmed as "
            "one setting can; run it again with other seeds (--seed)"
        )
    if sweep.equal_budget is not None and not sweep.equal_budget.is_known:
        raise ConfigError(
            f"{board.sweep_id}: the version that ran it did not store its machines' speed, which a budget in seconds needs; "
            "set budget: {flops_per_second: ...} and run it with another --sweep-id"
        )
    if not board.contenders:
        raise ConfigError(f"{board.sweep_id}: {_nothing_to_confirm(board)}")
    defaults = sweep.trial_config({})
    length = [defaults.budget_field, "evaluation_interval"] if sweep.equal_budget and defaults.budget_field else []
    fields = [*board.searched, *length]
    cases = {BASELINE: {field: getattr(defaults, field) for field in fields}}
    contenders = board.contenders[:top]
    cases |= {row.trial_id: {field: row.settings[field] for field in fields} for row in contenders}
    same = {field: getattr(sweep, field) for field in sweep_fields(SweepConfig, SweepRole.TRIALS, SweepRole.EXECUTION)}
    # All seeds are new, or all runs of a setting would be the same; the teacher's seed stays, and with it the teacher.
    method = type(defaults)
    drawn_anew = {*seed_fields(method)} - {*teacher_fields(method)}
    first = 1 + max(seed for field in drawn_anew if (seed := getattr(defaults, field)) is not None)
    trial = {field: value for field, value in sweep.trial.items() if field not in drawn_anew}
    confirming = SweepConfig.model_validate(
        same
        | {
            "name": "confirm",
            "description": f"The best settings of {board.sweep_id} with new seeds, against the published ones.",
            "trial": trial,
            "cases": cases,
            "seeds": list(range(first, first + seeds)),
        }
    )
    return layout.confirming_sweep(board.sweep_id), confirming


def _nothing_to_confirm(board: Leaderboard) -> str:
    """Return why no settings can be compared with the published ones, and what to do."""
    why = "no trial with other settings than the published ones has come far enough to be compared"
    if not board.finished:
        return f"{why} yet; resume the sweep"
    ends = board.states_in_words or "no trial"
    bounds = ", or has kept the constraints" if board.sweep.constraints else ""
    return f"{why}{bounds}, and the sweep has finished ({ends}); search another space, or more trials with --num-trials"


def confirm(
    board: Leaderboard,
    *,
    top: int,
    seeds: int,
    backend: BackendChoice | None = None,
    console: Console | None = None,
    trusted_code: Collection[str] = (),
) -> Confirmation:
    """Run the missing trials of a search's confirmation, and compare the settings.

    Args:
        board: Leaderboard of the search.
        top: See ``confirmation_sweep``.
        seeds: See ``confirmation_sweep``.
        backend: See ``run_sweep``.
        console: See ``run_sweep``.
        trusted_code: See ``run_sweep``.

    Raises:
        ConfigError: there is nothing to confirm. ``run_sweep`` lists further errors.
    """
    sweep_id, sweep = confirmation_sweep(board, top=top, seeds=seeds)
    finished = run_sweep(sweep, sweep_id=sweep_id, backend=backend, console=console, trusted_code=trusted_code).finished
    return Confirmation(
        sweep=sweep,
        sweep_id=sweep_id,
        finished=finished,
        results=read_cases(SweepStore(open_storage(sweep.storage), sweep_id), sweep),
        search=board.sweep,
    )
