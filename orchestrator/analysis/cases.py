"""Results of a sweep of cases: those of each case over its seeds, from any sweep on the storage."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from orchestrator.config import Assignment, SweepConfig
from orchestrator.formatting import duration, mean_and_deviation
from orchestrator.results import SweepSource, TrialRecord, TrialState, results_of
from trainables.config import AnyTrialConfig
from trainables.config.roles import Decides, Role, roles_of
from trainables.system.own_files import files_in

CASE_HEADINGS = {"data_free_score": "data-free score", "validation_accuracy": "validation", "test_accuracy": "test"}
"""Metrics that a table of cases shows if they were measured, with their headings."""


@dataclass(frozen=True, kw_only=True)
class CaseResults:
    """The completed trials of a sweep of cases, at most one for each case and seed."""

    sweep: SweepConfig
    sweep_id: str
    rows: dict[Assignment, TrialRecord]
    others: list[TrialRecord]
    """Trials of the sweep itself that diverged or failed."""

    def unsuccessful(self, case: str) -> str:
        """Return how many trials of a case diverged or failed, with the first error, in words; empty if none did."""
        rows = [row for row in self.others if row.case == case]
        diverged = sum(row.state is TrialState.DIVERGED for row in rows)
        errors = [row.error for row in rows if row.state is TrialState.FAILED]
        words = [f"{diverged} diverged"] if diverged else []
        if errors:
            words.append(f"{len(errors)} failed: {errors[0]}")
        return ", ".join(words)

    def values(self, case: str, metric: str) -> list[float]:
        """Return the values of a metric of a case, in the order of the seeds; seeds without a value are left out."""
        return list(self.by_seed(case, metric).values())

    def by_seed(self, case: str, metric: str) -> dict[int, float]:
        """Return the values of a metric of a case by seed; seeds without a value are left out."""
        rows = {a.seed: self.rows.get(a) for a in self.sweep.assignments() if a.case == case}
        return {
            seed: row.metrics[metric]
            for seed, row in rows.items()
            if row is not None and row.metrics[metric] is not None
        }

    @property
    def completed_elsewhere(self) -> dict[Assignment, str]:
        """Results that come from other sweeps on the storage, as ``SWEEP/TRIAL``."""
        return {
            assignment: f"{row.sweep_id}/{row.trial_id}"
            for assignment, row in self.rows.items()
            if row.sweep_id != self.sweep_id
        }

    @property
    def metrics(self) -> list[str]:
        """Metrics that tables show of each case: those of ``CASE_HEADINGS`` that were measured, which are all shares."""
        found = [name for name in CASE_HEADINGS if any(row.metrics[name] is not None for row in self.rows.values())]
        return found or ["validation_accuracy", "test_accuracy"]

    def table(self, title: str) -> Table:
        """Return a table for a terminal, with the metrics of each case over its seeds."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        measured = [CASE_HEADINGS[metric] for metric in self.metrics]
        measured[-1] += ", mean ± std (population)"
        for heading in ("case", "n", *measured, "transition error", "cost"):
            table.add_column(heading, justify="left" if heading == "case" else "right")
        for case in self.sweep.only or self.sweep.cases:
            rows = [row for assignment, row in self.rows.items() if assignment.case == case]
            seconds = sum(row.computing_seconds or 0.0 for row in rows)
            errors = self.values(case, "mean_transition_error")
            table.add_row(
                case,
                str(len(rows)),
                *(mean_and_deviation(self.values(case, metric), ".2%") for metric in self.metrics),
                f"{statistics.fmean(errors):.4f}" if errors else "",
                duration(seconds) if rows else "",
            )
        return table


def read_cases(source: SweepSource, sweep: SweepConfig) -> CaseResults:
    """Read the completed trials, of any sweep on the storage, whose settings are those of a case.

    If several trials match, a trial of the sweep itself is preferred, then the newest. All trials of a case must have the
    same teacher: that of the preferred trial.
    """
    results = results_of(source)
    sweep_id = results.sweep_id
    rows = sorted(results.trials_of_storage(), key=lambda row: (row.sweep_id == sweep_id, row.ended_at))
    configs = {assignment: sweep.case_config(assignment) for assignment in sweep.assignments()}
    found: dict[Assignment, TrialRecord] = {}
    teachers: dict[str, str | None] = {}
    for row in rows:  # later rows override earlier ones
        if row.state is TrialState.COMPLETED:
            for assignment, config in configs.items():
                if _is_of(row, config, assignment, sweep_id):
                    found[assignment] = row
                    teachers[assignment.case] = row.teacher_sha256
    same = {a: found[a] for a in configs if a in found and found[a].teacher_sha256 == teachers[a.case]}
    ours = last_attempts([row for row in rows if row.sweep_id == sweep_id])
    others = [row for row in ours if not row.state.has_result]
    return CaseResults(sweep=sweep, sweep_id=sweep_id, rows=same, others=others)


def last_attempts(rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of one sweep without failed trials of cases that ran once more."""
    last = {
        (row.case, row.settings["seed"]): row.trial_number for row in sorted(rows, key=lambda row: row.trial_number)
    }
    return [
        row
        for row in rows
        if row.case is None
        or row.state is not TrialState.FAILED
        or row.trial_number == last[row.case, row.settings["seed"]]
    ]


def _is_of(row: TrialRecord, config: AnyTrialConfig, assignment: Assignment, sweep_id: str) -> bool:
    """Return whether the trial of a result row has the settings of a config."""
    roles = roles_of(type(config))
    if row.sweep_id != sweep_id and files_in(
        {f: getattr(config, f) for f, role in roles.items() if not role.weightless}
    ):
        return False  # in another sweep, a file of the same name may have had other content
    in_case = row.sweep_id == sweep_id and row.case == assignment.case
    return all(_agrees(row, field, role, getattr(config, field), in_case=in_case) for field, role in roles.items())


def _agrees(row: TrialRecord, field: str, role: Role, wanted: Any, *, in_case: bool) -> bool:
    """Return whether the trial of a result row has the wanted value of a field.

    Args:
        row: The result row.
        field: Name of the field.
        role: Role of the field.
        wanted: Value of the field in the config.
        in_case: Whether the trial belongs to the same case of the same sweep.
    """
    there = row.settings[field]
    if role.decides is Decides.START and wanted is not None and there is not None:
        return in_case  # the row of another sweep's trial does not tell from which student it started
    if not role.weightless:
        return bool(there == wanted)
    if not wanted or role.told_by is None:
        return True
    return bool(there == wanted) if role.told_by == field else row.metrics[role.told_by] is not None
