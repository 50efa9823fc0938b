"""After a search: its best settings again, with new seeds, against the published ones.

The best of many trials is partly the luckiest. So the best few settings, each once, run again with seeds that the search has
not seen, at full budget and without early stopping, beside the published settings; and the differences are taken seed by
seed. Settings whose trial was stopped early are among them where fewer have used their whole budget: nothing but a whole
run tells how good they are. It is a sweep of cases, so that it is continued, extended and kept like any other.
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
    """The sweep that confirms a search, and its id.

    Args:
        board: The search's ended trials.
        top: How many of its best settings run again, in the order of the leaderboard.
        seeds: With how many seeds, none of them the search's.

    Raises:
        ConfigError: there is nothing to confirm.
    """
    sweep = board.sweep
    if sweep.cases:
        raise ConfigError(f"{board.sweep_id} is a list of cases, each with its seeds: there is no winner to confirm")
    if sweep.scheduler.is_population:
        raise ConfigError(
            f"{board.sweep_id} is population-based training: what it finds is a sequence of settings, which cannot be "
            "confirmed as one setting can; run it again with other seeds (--seed)"
        )
    if sweep.equal_budget is not None and not sweep.equal_budget.is_known:
        raise ConfigError(
            f"{board.sweep_id}: how fast its machines were, by which its budget in seconds is counted, was not kept by the "
            "version that ran it; write budget: {flops_per_second: ...} and run it with another --sweep-id"
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
    # No run keeps a seed of the search, lest all runs of a setting be one; the teacher stays the one that was searched with.
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
    """Why no settings can be held against the published ones, and what to do."""
    why = "no trial with other settings than the published ones has come far enough to be compared"
    if not board.finished:
        return f"{why} yet; let the sweep go on"
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
    """Run what is missing of a search's confirmation, and compare.

    Args:
        board: The search's ended trials.
        top: See ``confirmation_sweep``.
        seeds: Likewise.
        backend: See ``run_sweep``.
        console: Likewise.
        trusted_code: See ``run_sweep``.

    Raises:
        ConfigError: there is nothing to confirm; and whatever ``run_sweep`` raises.
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
