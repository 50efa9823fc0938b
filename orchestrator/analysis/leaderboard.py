"""The leaderboard: the ended trials of a sweep, best first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from rich.table import Table

from orchestrator.analysis.cases import last_attempts
from orchestrator.analysis.ranking import may_be_best, place
from orchestrator.config import SweepConfig
from orchestrator.errors import SweepNotFoundError
from orchestrator.formatting import duration, short
from orchestrator.results import SessionEvent, SweepSource, TrialRecord, TrialState, read_sweeps, results_of
from orchestrator.results.records import ENDED
from trainables.metrics import finite, is_share

_ACCURACIES = {"validation_accuracy": "validation", "test_accuracy": "test"}
"""Metrics on real images that the table shows if they were measured, with their headings."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The ended trials of a sweep, best first, in the order of ``orchestrator.analysis.ranking``."""

    sweep_id: str
    sweep: SweepConfig
    rows: list[TrialRecord]
    searched: list[str]
    """Fields that the space varies; each must be fixed to run one of the trials again."""

    finished: bool = False
    """Whether the sweep's last session left no trial to run."""

    @property
    def unknown(self) -> str:
        """Two sentences on what is not known of a sweep whose trials read no real image; empty if a trial reads one."""
        if any(config.reads_images for config in self.sweep.configs()):
            return ""
        return (
            "No labelled image was read: the accuracy of students and teacher on real images is not known. Scores say how "
            "often student and teacher predict the same class on images made from the teacher."
        )

    @property
    def candidates(self) -> list[TrialRecord]:
        """Trials that used their whole budget and satisfy the constraints, best first."""
        return [row for row in self.rows if may_be_best(row.state, feasible=row.keeps_constraints)]

    @property
    def contenders(self) -> list[TrialRecord]:
        """Trials with distinct settings, other than the published ones, that can be compared with these, best first.

        These are the candidates, followed by trials that were stopped early and satisfy the constraints. The list is empty
        for a sweep of cases, and for a population, whose settings change during training.
        """
        if self.sweep.cases or self.sweep.scheduler.is_population:
            return []
        published = self.sweep.trial_config({})
        seen = {tuple(getattr(published, name) for name in self.searched)}
        found = []
        stopped = [row for row in self.rows if row.state is TrialState.STOPPED_EARLY and row.keeps_constraints]
        for row in [*self.candidates, *(row for row in stopped if finite(row.objective) is not None)]:
            settings = tuple(row.settings[name] for name in self.searched)
            if settings not in seen:
                seen.add(settings)
                found.append(row)
        return found

    @property
    def best(self) -> TrialRecord | None:
        """The best candidate; None if there is no candidate."""
        return next(iter(self.candidates), None)

    @property
    def published(self) -> TrialRecord | None:
        """The trial with the published values of all searched fields: the first trial of a search, if its space has them.

        None if it has not ended, or for a sweep of cases.
        """
        ours = self.sweep.trial_config({})
        for row in self.rows:
            if row.trial_number == 0 and not self.sweep.cases:
                same = all(row.settings[name] == getattr(ours, name) for name in self.searched)
                return row if same else None
        return None

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The Pareto front: candidates to which no other is at least equal in all objectives and better in one."""
        rows = self.candidates
        signs = [1 if mode == "max" else -1 for mode in self.sweep.directions.values()]
        merits = (
            np.array([[row.metrics[name] for name in self.sweep.directions] for row in rows]).reshape(-1, len(signs))
            * signs
        )
        dominated = [bool(((merits >= own).all(1) & (merits > own).any(1)).any()) for own in merits]
        return [row for row, beaten in zip(rows, dominated, strict=True) if not beaten]

    def errors(self) -> list[str]:
        """Return the distinct errors of failed trials."""
        return list(dict.fromkeys(row.error for row in last_attempts(self.rows) if row.error))

    @property
    def without_best(self) -> str:
        """Why there is no best trial, as a sentence without a full stop."""
        completed = sum(row.state is TrialState.COMPLETED for row in self.rows)
        if not self.finished:
            kept = " and kept the constraints" if completed else ""
            return f"no trial has used its whole budget{kept} yet"
        if not self.rows:
            return "it has finished without a trial"
        words = {state: state.word for state in ENDED} | {TrialState.COMPLETED: "broke a constraint"}
        counts = ", ".join(f"{count} {words[state]}" for state, count in self.states().items())
        kept = " and kept the constraints" if completed else ""
        return f"it has finished, but none of its trials used its whole budget{kept} ({counts})"

    def states(self) -> dict[TrialState, int]:
        """Return the number of trials that ended in each state, without states in which none ended."""
        found = [row.state for row in self.rows]
        return {state: found.count(state) for state in ENDED if state in found}

    @property
    def states_in_words(self) -> str:
        """Number of ended trials by state, such as ``4 completed, 8 stopped early``; empty if no trial has ended."""
        return ", ".join(f"{count} {state.word}" for state, count in self.states().items())

    def table(self) -> Table:
        """Return the leaderboard as a table for a terminal."""
        selected = ": selected on test data" if self.sweep.selects_on_test else ""
        further = list(self.sweep.further_objectives)
        front = {row.trial_id for row in self.front} if further else set()
        marked = f"; *: on the Pareto front with {', '.join(further)}" if further else ""
        title = f"{self.sweep_id}, by {self.sweep.objective}{selected}{marked}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        measured = {
            name: heading
            for name, heading in _ACCURACIES.items()
            if any(row.metrics[name] is not None for row in self.rows)
        }
        beside = [name for name in self.sweep.directions if name not in _ACCURACIES]
        for column in ("#", "trial", *self.searched, *beside, *measured.values(), "state", "cost"):
            justify: Literal["left", "right"] = "left" if column in {"trial", "state"} else "right"
            # Headings are broken at the underscores of field names, so that the quick start's table fits into 80 columns.
            table.add_column(column.replace("_", "\n"), justify=justify, no_wrap=True)
        for rank, row in enumerate(self.rows, start=1):
            table.add_row(
                str(rank),
                row.trial_id + "*" * (row.trial_id in front),
                *(short(row.settings[name]) for name in self.searched),
                *(_percent(row.metrics[name]) if is_share(name) else short(row.metrics[name]) for name in beside),
                *(_percent(row.metrics[name]) for name in measured),
                self.ending(row),
                "" if row.computing_seconds is None else duration(row.computing_seconds),
            )
        return table

    def ending(self, row: TrialRecord) -> str:
        """Return how a trial ended, such as ``completed``, ``out of bounds`` or ``stopped at 25%`` of its budget."""
        if row.state is TrialState.COMPLETED:
            return "completed" if row.keeps_constraints else "out of bounds"
        if row.done is None:
            return row.state
        word = "stopped" if row.state is TrialState.STOPPED_EARLY else row.state
        return f"{word} at {self.sweep.share_used(row.config, row.metrics):.0%}"


def read_leaderboard(source: SweepSource) -> Leaderboard:
    """Read the leaderboard of a sweep from the result store.

    Raises:
        SweepNotFoundError: there is no such sweep; the message names the sweeps that exist.
    """
    results = results_of(source)
    sessions = results.sessions()
    if not sessions:
        known = sorted(set(read_sweeps(results.reader)["sweep_id"].to_pylist()))
        raise SweepNotFoundError(f"no sweep {results.sweep_id} in this storage; there: {', '.join(known) or 'none'}")
    last = sessions[-1]
    return Leaderboard(
        sweep_id=results.sweep_id,
        sweep=last.config,
        rows=sorted(results.trials(), key=lambda row: _place(row, last.config)),
        searched=last.searched,
        finished=last.event is SessionEvent.FINISHED,
    )


def _place(row: TrialRecord, sweep: SweepConfig) -> tuple[Any, ...]:
    share = 0.0
    if row.state is TrialState.STOPPED_EARLY:
        share = sweep.share_used(row.config, row.metrics)
    return place(
        sweep,
        state=row.state,
        feasible=row.keeps_constraints,
        share=share,
        objective=row.objective,
        number=row.trial_number,
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
