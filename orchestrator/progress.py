"""What a user sees while a sweep runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.config import TEST_ACCURACY, SweepConfig
from trainables.config import AnyTrialConfig

_MARKS = {
    "earlier": "dim",
    "completed": "green",
    "stopped_early": "yellow",
    "diverged": "red",
    "failed": "red",
    "running": "cyan",
}


@dataclass(kw_only=True)
class _TrialView:
    settings: Mapping[str, Any]
    state: str = "running"
    unit: str = ""
    done: int = 0
    budget: int = 1
    objective: float | None = None
    feasible: bool = True

    @property
    def share(self) -> float:
        return self.done / self.budget


@dataclass(kw_only=True)
class Progress:
    """Follows the trials of one session. A context manager; the display is gone at its end."""

    console: Console
    sweep: SweepConfig
    """What is run. Where it compares nothing, the accuracy on test images is shown and none is best."""
    searched: Sequence[str]
    """Settings that tell a trial from the others."""
    num_trials: int
    _trials: dict[str, _TrialView] = field(default_factory=dict)
    _live: Live | None = None
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Time runs from here."""
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def recall(self, trial_id: str, settings: Mapping[str, Any], objective: float | None, *, feasible: bool) -> None:
        """A trial ended in an earlier session; it counts as done and may be the best."""
        self._trials[trial_id] = _TrialView(settings=settings, state="earlier", objective=objective, feasible=feasible)

    def started(self, trial_id: str, settings: Mapping[str, Any], config: AnyTrialConfig) -> None:
        """A trial has a place to run."""
        if trial_id in self._trials:
            return
        self._trials[trial_id] = _TrialView(settings=settings, unit=config.unit, budget=config.budget)
        about = self._settings(trial_id)
        self._say(f"{trial_id} started" + (f": {about}" if about else ""))

    def reported(self, trial_id: str, report: Mapping[str, Any]) -> None:
        """A trial has reported."""
        trial = self._trials[trial_id]
        trial.done = report[trial.unit]
        trial.objective = report[self._shown_metric]
        trial.feasible = self.sweep.keeps_constraints(report)
        self._say(
            f"{trial_id} {trial.done}/{trial.budget} {trial.unit.replace('_', ' ')}, "
            f"{self._shown_metric} {trial.objective:.4f}"
        )

    def recovering(self, trial_id: str, cause: str) -> None:
        """A trial's process died or raised; it will be continued."""
        # Comes before `started` where a trial fails while it is set up.
        self.warn(f"{trial_id} is tried again from its last checkpoint, after: {cause}")

    def warn(self, line: str) -> None:
        """Something the user should know; it stays on the screen above the table."""
        self.console.print(f"warning: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def ended(self, trial_id: str, state: str, error: str) -> None:
        """A trial has ended."""
        self._trials.setdefault(trial_id, _TrialView(settings={})).state = state
        line = f"{trial_id} {state.replace('_', ' ')}" + (f": {error}" if error else "")
        if state in {"failed", "diverged"}:
            self.warn(line)
        else:
            self._say(line)

    @property
    def ended_count(self) -> int:
        """Trials that have ended, earlier sessions counted in."""
        return sum(trial.state != "running" for trial in self._trials.values())

    def seconds_left(self) -> float | None:
        """Wall seconds to the end, if the trials to come take as long as those seen so far; none before there is one."""
        earlier = sum(trial.state == "earlier" for trial in self._trials.values())
        running = (trial for trial in self._trials.values() if trial.state == "running")
        shares = sum(trial.share for trial in running)
        work_done = self.ended_count - earlier + shares
        if work_done <= 0:
            return None
        work_left = self.num_trials - self.ended_count - shares
        return max(0.0, work_left * (time.monotonic() - self._started) / work_done)

    def render(self) -> Group:
        """The table as it stands."""
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "state", "progress", self._shown_metric, *self.searched):
            table.add_column(column, justify="left" if column in {"trial", "state"} else "right")
        recent = [key for key in self._trials if self._trials[key].state != "earlier"]
        shown = sorted(recent, key=lambda key: (self._trials[key].state != "running", key))
        room = max(4, self.console.size.height - 6)
        for key in shown[:room]:
            trial = self._trials[key]
            share = f"{trial.share:.0%}"
            value = "" if trial.objective is None else f"{trial.objective:.4f}"
            state = Text(trial.state.replace("_", " "), style=_MARKS[trial.state])
            table.add_row(key, state, share, value, *(_short(trial.settings.get(name)) for name in self.searched))
        hidden = len(shown) - room
        lines: list[Any] = [table]
        if hidden > 0:
            lines.append(f"and {hidden} more")
        lines.append(Text(self.summary(), style="bold"))
        return Group(*lines)

    def summary(self) -> str:
        """Trials done, best so far, time left."""
        parts = [f"{self.ended_count} of {self.num_trials} trials done"]
        best = self._best()
        if best:
            settings = self._settings(best)
            about = f"{best}: {settings}" if settings else best
            parts.append(f"best {self.sweep.objective} {self._trials[best].objective:.4f} ({about})")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return "; ".join(parts)

    @property
    def _shown_metric(self) -> str:
        return self.sweep.objective or TEST_ACCURACY

    def _best(self) -> str | None:
        if self.sweep.objective is None:
            return None
        known = {key: trial.objective for key, trial in self._trials.items() if trial.feasible}
        scored = {key: self.sweep.merit(value) for key, value in known.items() if value is not None}
        return max(scored, key=lambda key: scored[key]) if scored else None

    def _settings(self, trial_id: str) -> str:
        settings = self._trials[trial_id].settings
        return ", ".join(f"{name}={_short(settings[name])}" for name in self.searched if name in settings)

    def _say(self, line: str) -> None:
        if not self._live:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
