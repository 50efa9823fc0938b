"""Trials of a sweep in order of merit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from rich.table import Table

from orchestrator.analysis.cases import last_attempts
from orchestrator.analysis.ranking import STATES, may_be_best, place
from orchestrator.config import SweepConfig
from orchestrator.errors import SweepNotFoundError
from orchestrator.formatting import duration, short
from orchestrator.results import Row, Source, config_of, read_sweeps, read_trials
from orchestrator.results.schema import CONFIG_PREFIX
from trainables.metrics import finite, is_share

_ACCURACIES = {"validation_accuracy": "validation", "test_accuracy": "test"}
"""Columns of the table where students were measured on real images, with their headings."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A sweep's ended trials, best first, in the order of ``ranking``."""

    sweep_id: str
    sweep: SweepConfig
    rows: list[Row]
    searched: list[str]
    """Fields that the space varies; each must be fixed to run one of the trials again."""

    finished: bool = False
    """Whether its last session left nothing to be done."""

    @property
    def candidates(self) -> list[Row]:
        """Trials that used their whole budget and keep the constraints, best first."""
        return [row for row in self.rows if may_be_best(row["state"], feasible=_keeps_constraints(row))]

    @property
    def contenders(self) -> list[Row]:
        """Trials whose settings can be held against the published ones, best first and equal settings once: the candidates,
        and behind them what was stopped early within the constraints. None of cases, nor of a population, whose settings
        change in mid-training."""
        if self.sweep.cases or self.sweep.scheduler.is_population:
            return []
        published = self.sweep.trial_config({})
        seen = {tuple(getattr(published, name) for name in self.searched)}
        found = []
        stopped = [row for row in self.rows if row["state"] == "stopped_early" and _keeps_constraints(row)]
        for row in [*self.candidates, *(row for row in stopped if finite(row["objective"]) is not None)]:
            settings = tuple(row[CONFIG_PREFIX + name] for name in self.searched)
            if settings not in seen:
                seen.add(settings)
                found.append(row)
        return found

    @property
    def best(self) -> Row | None:
        """The best of the candidates, or none."""
        return next(iter(self.candidates), None)

    @property
    def published(self) -> Row | None:
        """The trial with the published value of each searched field: a search's first, where its space holds them all."""
        ours = self.sweep.trial_config({})
        for row in self.rows:
            if row["trial_number"] == 0 and not self.sweep.cases:
                same = all(row[CONFIG_PREFIX + name] == getattr(ours, name) for name in self.searched)
                return row if same else None
        return None

    @cached_property
    def front(self) -> list[Row]:
        """The Pareto front: candidates that no other one equals in all objectives and beats in one."""
        rows = self.candidates
        signs = [1 if mode == "max" else -1 for mode in self.sweep.directions.values()]
        merits = (
            np.array([[row[name] for name in self.sweep.directions] for row in rows]).reshape(-1, len(signs)) * signs
        )
        dominated = [bool(((merits >= own).all(1) & (merits > own).any(1)).any()) for own in merits]
        return [row for row, beaten in zip(rows, dominated, strict=True) if not beaten]

    def errors(self) -> list[str]:
        """What the failed trials died of, each once."""
        return list(dict.fromkeys(row["error"] for row in last_attempts(self.rows) if row["error"]))

    @property
    def without_best(self) -> str:
        """Why there is no best trial, in a sentence without its full stop."""
        completed = sum(row["state"] == "completed" for row in self.rows)
        if not self.finished:
            kept = " and kept the constraints" if completed else ""
            return f"no trial has used its whole budget{kept} yet"
        if not self.rows:
            return "it has finished without a trial"
        words = {"completed": "broke a constraint", **{state: state.replace("_", " ") for state in STATES[1:]}}
        counts = ", ".join(f"{count} {words[state]}" for state, count in self.states().items())
        kept = " and kept the constraints" if completed else ""
        return f"it has finished, but none of its trials used its whole budget{kept} ({counts})"

    def states(self) -> dict[str, int]:
        """How many trials ended in each state."""
        found = [row["state"] for row in self.rows]
        return {state: found.count(state) for state in STATES if state in found}

    def table(self) -> Table:
        """The leaderboard for a terminal."""
        selected = ": selected on test data" if self.sweep.selects_on_test else ""
        further = list(self.sweep.further_objectives)
        front = {row["trial_id"] for row in self.front} if further else set()
        marked = f"; *: on the Pareto front with {', '.join(further)}" if further else ""
        title = f"{self.sweep_id}, by {self.sweep.objective}{selected}{marked}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        measured = {
            name: heading for name, heading in _ACCURACIES.items() if any(row[name] is not None for row in self.rows)
        }
        beside = [name for name in self.sweep.directions if name not in _ACCURACIES]
        for column in ("#", "trial", *self.searched, *beside, *measured.values(), "state", "cost"):
            justify: Literal["left", "right"] = "left" if column in {"trial", "state"} else "right"
            # Field names are broken at their underscores, so that the quick start's table fits into 80 columns.
            table.add_column(column.replace("_", "\n"), justify=justify, no_wrap=True)
        for rank, row in enumerate(self.rows, start=1):
            table.add_row(
                str(rank),
                row["trial_id"] + "*" * (row["trial_id"] in front),
                *(short(row[CONFIG_PREFIX + name]) for name in self.searched),
                *(_percent(row[name]) if is_share(name) else short(row[name]) for name in beside),
                *(_percent(row[name]) for name in measured),
                self.ending(row),
                ""
                if row["training_seconds"] is None
                else duration(row["training_seconds"] + row["evaluation_seconds"]),
            )
        return table

    def ending(self, row: Row) -> str:
        """``completed``, or where in its budget a trial ended."""
        config = config_of(row)
        if row["state"] == "completed":
            return "completed" if _keeps_constraints(row) else "out of bounds"
        if row[config.unit] is None:
            return str(row["state"])
        word = {"stopped_early": "stopped"}.get(row["state"], row["state"])
        return f"{word} at {self.sweep.share_used(config, row):.0%}"


def read_leaderboard(source: Source, sweep_id: str) -> Leaderboard:
    """Read a sweep from the result store.

    Raises:
        SweepNotFoundError: there is no such sweep; the message names those that are there.
    """
    sessions = read_sweeps(source, sweep_id).to_pylist()
    if not sessions:
        known = sorted(set(read_sweeps(source)["sweep_id"].to_pylist()))
        raise SweepNotFoundError(f"no sweep {sweep_id} in this storage; there: {', '.join(known) or 'none'}")
    sweep = SweepConfig.stored(sessions[-1]["config_json"])

    rows = sorted(read_trials(source, sweep_id).to_pylist(), key=lambda row: _place(row, sweep))
    return Leaderboard(
        sweep_id=sweep_id,
        sweep=sweep,
        rows=rows,
        searched=json.loads(sessions[-1]["searched_json"]),
        finished=sessions[-1]["event"] == "finished",
    )


def _place(row: Row, sweep: SweepConfig) -> tuple[Any, ...]:
    share = 0.0
    if row["state"] == "stopped_early":
        share = sweep.share_used(config_of(row), row)
    return place(
        sweep,
        state=row["state"],
        feasible=_keeps_constraints(row),
        share=share,
        objective=row["objective"],
        number=row["trial_number"],
    )


def _keeps_constraints(row: Row) -> bool:
    return row["feasible"] is not False  # unknown in rows of versions without constraints


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
