"""Trials of a sweep in order of merit."""

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
"""Columns of the table where students were measured on real images, with their headings."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A sweep's ended trials, best first, in the order of ``ranking``."""

    sweep_id: str
    sweep: SweepConfig
    rows: list[TrialRecord]
    searched: list[str]
    """Fields that the space varies; each must be fixed to run one of the trials again."""

    finished: bool = False
    """Whether its last session left nothing to be done."""

    @property
    def unknown(self) -> str:
        """What nobody can know of a sweep whose trials read no real image, in two sentences; empty where some read one."""
        if any(config.reads_images for config in self.sweep.configs()):
            return ""
        return (
            "No image with a label was read: how often students, and the teacher itself, are right on real images is not "
            "known. Scores say how often student and teacher decide alike on images made from the teacher."
        )

    @property
    def candidates(self) -> list[TrialRecord]:
        """Trials that used their whole budget and keep the constraints, best first."""
        return [row for row in self.rows if may_be_best(row.state, feasible=row.keeps_constraints)]

    @property
    def contenders(self) -> list[TrialRecord]:
        """Trials whose settings can be held against the published ones, best first and equal settings once: the candidates,
        and behind them what was stopped early within the constraints. None of cases, nor of a population, whose settings
        change in mid-training."""
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
        """The best of the candidates, or none."""
        return next(iter(self.candidates), None)

    @property
    def published(self) -> TrialRecord | None:
        """The trial with the published value of each searched field: a search's first, where its space holds them all."""
        ours = self.sweep.trial_config({})
        for row in self.rows:
            if row.trial_number == 0 and not self.sweep.cases:
                same = all(row.settings[name] == getattr(ours, name) for name in self.searched)
                return row if same else None
        return None

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The Pareto front: candidates that no other one equals in all objectives and beats in one."""
        rows = self.candidates
        signs = [1 if mode == "max" else -1 for mode in self.sweep.directions.values()]
        merits = (
            np.array([[row.metrics[name] for name in self.sweep.directions] for row in rows]).reshape(-1, len(signs))
            * signs
        )
        dominated = [bool(((merits >= own).all(1) & (merits > own).any(1)).any()) for own in merits]
        return [row for row, beaten in zip(rows, dominated, strict=True) if not beaten]

    def errors(self) -> list[str]:
        """What the failed trials died of, each once."""
        return list(dict.fromkeys(row.error for row in last_attempts(self.rows) if row.error))

    @property
    def without_best(self) -> str:
        """Why there is no best trial, in a sentence without its full stop."""
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
        """How many trials ended in each state."""
        found = [row.state for row in self.rows]
        return {state: found.count(state) for state in ENDED if state in found}

    @property
    def states_in_words(self) -> str:
        """``4 completed, 8 stopped early``; empty without an ended trial."""
        return ", ".join(f"{count} {state.word}" for state, count in self.states().items())

    def table(self) -> Table:
        """The leaderboard for a terminal."""
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
            # Field names are broken at their underscores, so that the quick start's table fits into 80 columns.
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
        """``completed``, or where in its budget a trial ended."""
        if row.state is TrialState.COMPLETED:
            return "completed" if row.keeps_constraints else "out of bounds"
        if row.done is None:
            return row.state
        word = "stopped" if row.state is TrialState.STOPPED_EARLY else row.state
        return f"{word} at {self.sweep.share_used(row.config, row.metrics):.0%}"


def read_leaderboard(source: SweepSource) -> Leaderboard:
    """Read a sweep from the result store.

    Raises:
        SweepNotFoundError: there is no such sweep; the message names those that are there.
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
