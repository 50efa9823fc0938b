"""View of a sweep at one moment, for a terminal: filled from events (``live``) or from its storage (``status``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.ranking import may_be_best, place
from orchestrator.config import SweepConfig
from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.formatting import duration, short, sparkline
from orchestrator.results import TrialState
from orchestrator.results.recoveries import in_words
from trainables.metrics import finite

_EARLIER = "earlier"

_COLOURS = {
    TrialState.COMPLETED: "green",
    TrialState.STOPPED_EARLY: "yellow",
    TrialState.DIVERGED: "red",
    TrialState.FAILED: "red",
    TrialState.RUNNING: "cyan",
}
"""Colours of the states in a terminal, in the order in which the states are counted."""


@dataclass(kw_only=True)
class TrialView:
    """One trial of a sweep, as it is shown."""

    settings: Mapping[str, Any]
    state: TrialState = TrialState.RUNNING

    earlier: bool = False
    """Whether the trial ended in an earlier session."""

    unit: str = ""
    done: int = 0
    budget: int = 1
    objective: float | None = None
    feasible: bool = True
    """Whether the trial satisfies the sweep's constraints."""

    history: list[float] = field(default_factory=list)
    """Values of the shown metric that the trial has reported."""

    @property
    def share(self) -> float:
        """Share of its budget that the trial has used, in [0, 1]."""
        return self.done / self.budget

    def report(self, done: int, value: float | None, *, feasible: bool) -> None:
        """Add a report of the trial; a repeated report counts once, and infinite or NaN values count as None."""
        value = finite(value)
        if value is not None and done != self.done:
            self.history.append(value)
        self.done, self.objective, self.feasible = done, value, feasible


@dataclass(kw_only=True)
class SweepView:
    """All trials of a sweep, with counts, the best trial and the time left."""

    sweep: SweepConfig
    """The sweep. If it has no objective, test accuracy is shown and no trial is the best."""
    searched: Sequence[str]
    """Fields in which the trials differ."""
    num_trials: int
    trials: dict[str, TrialView] = field(default_factory=dict)
    last_warning: str = ""
    losses: Counter[str] = field(default_factory=Counter)
    """How often trials were resumed, by cause. For running trials, only causes that this process has seen are known."""

    spent: str = ""
    """Cost of the trials so far, in words."""

    @property
    def shown_metric(self) -> str:
        """Metric that the table shows of each trial."""
        return self.sweep.objective or TEST_ACCURACY

    @property
    def ended_count(self) -> int:
        """Number of trials that have ended, including those of earlier sessions."""
        return sum(trial.state.ended for trial in self.trials.values())

    @property
    def best(self) -> str | None:
        """Id of the best trial, as on the leaderboard; None if no trial can be the best yet."""
        return self._first(
            {key: trial for key, trial in self.trials.items() if may_be_best(trial.state, feasible=trial.feasible)}
        )

    @property
    def leading(self) -> str | None:
        """Id of the running trial with the best value so far; None if no running trial has a value."""
        return self._first({key: t for key, t in self.trials.items() if not t.state.ended and t.feasible})

    def _first(self, trials: Mapping[str, TrialView]) -> str | None:
        if self.sweep.objective is None:
            return None
        places = {
            key: place(
                self.sweep, state=TrialState.COMPLETED, feasible=True, share=1, objective=value, number=int(key[1:])
            )
            for key, trial in trials.items()
            if (value := trial.objective) is not None
        }
        return min(places, key=lambda key: places[key], default=None)

    def seconds_left(self, elapsed: float) -> float | None:
        """Return the wall time left in seconds, if the remaining trials take as long as those of this session.

        Args:
            elapsed: Wall seconds since the session began.

        Returns:
            The seconds; None before any work of this session is done.
        """
        work = self._work_done()
        if work <= 0:
            return None
        running = sum(trial.share for trial in self.trials.values() if not trial.state.ended)
        return max(0.0, (self.num_trials - self.ended_count - running) * elapsed / work)

    def settings_of(self, trial_id: str) -> str:
        """Return the searched settings of a trial in one line."""
        settings = self.trials[trial_id].settings
        return ", ".join(f"{name}={short(settings[name])}" for name in self.searched if name in settings)

    def summary(self, elapsed: float) -> str:
        """Return one line on the trials done, the best trial so far, the cost and the time left."""
        parts = [f"{self.ended_count} of {self.num_trials} trials done"]
        shown = self.best or self.leading
        if shown:
            trial, settings = self.trials[shown], self.settings_of(shown)
            about = f"{shown}: {settings}" if settings else shown
            what = "best" if self.best else f"leading, at {trial.share:.0%} of its budget:"
            parts.append(f"{what} {self.sweep.objective} {trial.objective:.4f} ({about})")
        if self.spent:
            parts.append(self.spent)
        left = self.seconds_left(elapsed)
        if left is not None and self.ended_count < self.num_trials:
            parts.append(f"about {duration(left)} left")
        return "; ".join(parts)

    def render(self, elapsed: float, *, rows: int) -> Group:
        """Return the table of this session's trials, running trials first, with counts, warnings and a summary below.

        Args:
            elapsed: See ``seconds_left``.
            rows: Most trials to show.
        """
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "state", "progress", self.shown_metric, *self.searched):
            table.add_column(column, justify="left" if column in {"trial", "state"} else "right")
        recent = [key for key in self.trials if not self.trials[key].earlier]
        shown = sorted(recent, key=lambda key: (self.trials[key].state.ended, key))
        for key in shown[:rows]:
            trial = self.trials[key]
            value = "" if trial.objective is None else f"{trial.objective:.4f}"
            state = Text(trial.state.word, style=_COLOURS[trial.state])
            settings = (short(trial.settings.get(name)) for name in self.searched)
            table.add_row(key, state, f"{trial.share:.0%}", value, *settings)
        lines: list[Any] = [table] if shown else []
        if len(shown) > rows:
            lines.append(f"and {len(shown) - rows} more")
        lines += [Text(line) for line in (self._counts(elapsed), self._best_curve()) if line]
        if self.losses:
            lines.append(Text(f"trials were resumed after: {in_words(self.losses)}"))
        if self.last_warning:
            lines.append(Text(f"last warning: {self.last_warning}", style="yellow"))
        lines.append(Text(self.summary(elapsed), style="bold"))
        return Group(*lines)

    def _counts(self, elapsed: float) -> str:
        """Return the number of trials in each state, and the speed in trials per hour."""
        words = [_EARLIER if trial.earlier else trial.state.word for trial in self.trials.values()]
        order = [_EARLIER, *(state.word for state in _COLOURS)]
        counts = [f"{words.count(word)} {word}" for word in order if word in words]
        work = self._work_done()
        if work > 0 and elapsed > 0:
            counts.append(f"{3600 * work / elapsed:.3g} trials an hour")
        return ", ".join(counts)

    def _best_curve(self) -> str:
        best = self.best or self.leading
        history = self.trials[best].history if best else []
        if len(history) < 2:
            return ""
        return f"{best} {sparkline(history)} {history[0]:.4f} to {history[-1]:.4f}"

    def _work_done(self) -> float:
        """Return the work done in this session, in trials; a running trial counts with its share."""
        earlier = sum(trial.earlier for trial in self.trials.values())
        running = sum(trial.share for trial in self.trials.values() if not trial.state.ended)
        return self.ended_count - earlier + running
