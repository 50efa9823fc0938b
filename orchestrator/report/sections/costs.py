"""The sections on computing time, and on failures and warnings."""

from __future__ import annotations

from orchestrator.formatting import duration
from orchestrator.report import figures
from orchestrator.report.data import SweepData, Trial, words
from orchestrator.report.page import Block, Figure, Section, Table, time_cell
from orchestrator.results import TrialRecord, TrialState
from orchestrator.results.records import computing_seconds
from orchestrator.results.recoveries import in_words
from trainables.health import findings

_NAMED = 8
"""Maximum number of trials that a warning lists."""


def total_seconds(data: SweepData) -> float:
    """Return the computing time of all trials in seconds, including trials that have not ended."""
    last = [
        trial.row.metrics if trial.row else trial.reports[-1] for trial in data.trials if trial.row or trial.reports
    ]
    return sum(computing_seconds(metrics) or 0.0 for metrics in last)


def costs_section(data: SweepData) -> Section:
    """Return a section on computing time by how trials ended, and on what early stopping saved."""
    made = figures.cost_figure(data)
    groups: dict[TrialState, list[TrialRecord]] = {}
    for row in data.board.rows:
        if row.computing_seconds is not None:
            groups.setdefault(row.state, []).append(row)
    counted = any(row.gpu_seconds or row.cost_usd for found in groups.values() for row in found)
    rows = [
        [
            state.word,
            str(len(found)),
            time_cell(sum(row.training_seconds for row in found)),
            time_cell(sum(row.evaluation_seconds for row in found)),
            f"{sum(row.metrics['student_updates'] or 0 for row in found):,}",
            str(sum(row.recoveries or 0 for row in found)),  # unknown for a row that was lost and written again
            *(_money(found) if counted else ()),
        ]
        for state, found in groups.items()
    ]
    headings = ["ended", "trials", "training", "measuring", "student updates", "resumed after a loss"]
    headings += ["GPU hours", "cost"] if counted else []
    saved = _saved_seconds(data)
    lead = (
        f"Early stopping saved about {duration(saved)}: the time for the rest of the stopped trials at their own speed."
    )
    title = f"{words(data.metric)} and computing time"
    table = [Table(title="Computing time", headings=headings, rows=rows)] if rows else []
    caption = "Each point is a trial at its end."
    drawn = [] if made is None else [Figure(title=title.capitalize(), tabs={"": made}, caption=caption)]
    return Section(title="Where the time went", lead=lead if saved > 0 else "", blocks=[*table, *drawn])


def failures_section(data: SweepData) -> Section:
    """Return a section with the trials that failed, diverged or were resumed, and the warnings."""
    blocks: list[Block] = []
    rows = [
        [
            row.trial_id,
            row.state.word,
            row.error,
            str(row.recoveries or 0),
            in_words(row.recovery_causes),
        ]
        for row in data.board.rows
        if not row.state.has_result or row.recoveries
    ]
    if rows:
        headings = ("trial", "state", "cause", "resumed", "after")
        blocks.append(
            Table(title="Failures and retries", headings=headings, rows=rows, text_columns=frozenset({0, 1, 2, 4}))
        )
    found: dict[str, list[str]] = {}
    for trial in data.trials:
        for line in _warnings(trial):
            found.setdefault(line, []).append(trial.trial_id)
    if found:
        lines = [[_names(ids), line] for line, ids in found.items()]
        blocks.append(
            Table(title="Warnings", headings=("trials", "warning"), rows=lines, text_columns=frozenset({0, 1}))
        )
    return Section(title="Failures and warnings", blocks=blocks)


def _money(rows: list[TrialRecord]) -> tuple[str, str]:
    """Format the GPU hours and the cost of trials; if only some trials have a known cost, the text says how many."""
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    some = "" if len(known) == len(rows) else f" ({len(known)} of {len(rows)} trials)"
    cost = f"{sum(known):.2f} USD{some}" if known else "no price"
    return f"{sum(row.gpu_seconds or 0.0 for row in rows) / 3600:.3g}", cost


def _saved_seconds(data: SweepData) -> float:
    stopped = [
        (trial.row.training_seconds, trial.shares[-1])
        for trial in data.trials
        if trial.state is TrialState.STOPPED_EARLY and trial.row and trial.shares
    ]
    return sum((seconds * (1 / share - 1) for seconds, share in stopped), 0.0)


def _warnings(trial: Trial) -> list[str]:
    """Return the guards' warnings on a trial; they read reports alone, so these are the warnings of its run."""
    if trial.row is None:
        return []
    config, recorded = trial.row.config, trial.row.teacher_test_accuracy
    found = (findings(config, report, recorded_teacher_accuracy=recorded) for report in trial.reports)
    return list(dict.fromkeys(line for lines in found for line in lines.values()))


def _names(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
