"""Display of a running sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from orchestrator.config import SweepConfig
from orchestrator.monitor.view import SweepView, TrialView
from orchestrator.output import Output
from orchestrator.results import TrialState
from trainables.config import AnyTrialConfig
from trainables.system.clock import SYSTEM_CLOCK, Clock


class Progress:
    """Display of one session's trials, a context manager that removes the live table at its end."""

    def __init__(
        self,
        *,
        console: Console,
        sweep: SweepConfig,
        searched: Sequence[str],
        num_trials: Callable[[], int],
        draws_table: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Create the display; the session's time starts now.

        Args:
            console: Console to print to.
            sweep: See ``SweepView``.
            searched: See ``SweepView``.
            num_trials: Returns the number of trials of the sweep; called again whenever a trial ends.
            draws_table: Whether to draw a live table if the console is a terminal, to which nothing else may then write.
            clock: Measures the session's time.
        """
        self.console = console
        self.view = SweepView(sweep=sweep, searched=searched, num_trials=num_trials())
        self._num_trials = num_trials
        self._draws_table = draws_table
        self._live: Live | None = None
        self._clock = clock
        self._started = clock.monotonic()

    def __enter__(self) -> Progress:
        if self.console.is_terminal and self._draws_table:
            self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def recall(
        self, trial_id: str, settings: Mapping[str, Any], objective: float | None, *, state: TrialState, feasible: bool
    ) -> None:
        """Add a trial that ended in an earlier session, which counts as done and may be the best."""
        self.view.trials[trial_id] = TrialView(
            settings=settings, state=state, earlier=True, objective=objective, feasible=feasible
        )

    def started(self, trial_id: str, settings: Mapping[str, Any], config: AnyTrialConfig) -> None:
        """Add a trial that has started to run, unless it is shown already."""
        if trial_id in self.view.trials:
            return
        self.view.trials[trial_id] = TrialView(settings=settings, unit=config.unit, budget=config.budget)
        about = self.view.settings_of(trial_id)
        self._say(f"{trial_id} started" + (f": {about}" if about else ""))

    def reported(self, trial_id: str, report: Mapping[str, Any]) -> None:
        """Update a trial with its newest report."""
        trial, metric = self.view.trials[trial_id], self.view.shown_metric
        trial.report(report[trial.unit], report[metric], feasible=self.view.sweep.keeps_constraints(report))
        unit = trial.unit.replace("_", " ")
        value = "" if trial.objective is None else f", {metric} {trial.objective:.4f}"
        self._say(f"{trial_id} {trial.done}/{trial.budget} {unit}{value}")

    def recovering(self, trial_id: str, cause: str) -> None:
        """Count and print that a trial resumes from its last checkpoint because its process died or raised an error."""
        self.view.losses[cause] += 1
        # This may be called before `started`, for a trial that fails during its set-up.
        self.warn(f"{trial_id} is tried again from its last checkpoint, after: {cause}")

    def warn(self, line: str) -> None:
        """Print a warning, which stays on the screen above the live table."""
        self.view.last_warning = line
        Output(self.console).warn(f"warning: {line}")

    def ended(self, trial_id: str, state: TrialState, error: str) -> None:
        """Update a trial that has ended; a trial without a result gives a warning."""
        self.view.trials.setdefault(trial_id, TrialView(settings={})).state = state
        self.view.num_trials = self._num_trials()
        line = f"{trial_id} {state.word}" + (f": {error}" if error else "")
        if not state.has_result:
            self.warn(line)
        else:
            self._say(line)

    def render(self) -> Group:
        """Return the current table and the lines below it, with as many trials as fit the terminal."""
        return self.view.render(self._elapsed, rows=max(4, self.console.size.height - 9))

    def summary(self) -> str:
        """Return one line on the trials done, the best trial so far, the cost and the time left."""
        return self.view.summary(self._elapsed)

    def seconds_left(self) -> float | None:
        """Return an estimate of the seconds left; see ``SweepView``."""
        return self.view.seconds_left(self._elapsed)

    @property
    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._started

    def _say(self, line: str) -> None:
        if not self._live:
            Output(self.console).say(line)


class _Shown(logging.Handler):
    """A logging handler that passes each message to a function that prints it."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


@contextmanager
def warnings_shown(console: Console) -> Iterator[None]:
    """Print the package's log messages (such as slow storage or unreadable results) above the live table, in a block.

    Outside of such a block, as in programs that use the package, Python's logging prints the messages to standard error.
    """
    logger = logging.getLogger("zskt")
    handler = _Shown(Output(console).warn)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
