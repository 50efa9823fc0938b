"""The state of a sweep for ``zskt status``, read from its storage only, without contact to the process that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Group
from rich.text import Text

from orchestrator.analysis.leaderboard import Leaderboard, read_leaderboard
from orchestrator.costs.ledger import CostLedger
from orchestrator.costs.limit import spent_in_words
from orchestrator.formatting import duration
from orchestrator.monitor.view import SweepView, TrialView
from orchestrator.results import Row, SessionEvent, SweepResults, TrialState, kept_config
from orchestrator.search.distinct import trials_in_all
from orchestrator.search.study import WatchedStudy, case_of_trial, settings_of_trial
from orchestrator.storage import SweepStore, layout
from trainables.config import AnyTrialConfig
from trainables.health import findings
from trainables.system.clock import SYSTEM_CLOCK, Clock

_SILENT = 600.0
"""Fewest seconds without a new report or event after which a sweep that has not ended counts as silent."""


class SweepState(StrEnum):
    """Whether a sweep runs, or how its last session ended."""

    RUNNING = "running"
    SILENT = "silent"
    """The last session has not ended, but has written nothing for a long time."""

    FINISHED = SessionEvent.FINISHED.value
    INTERRUPTED = SessionEvent.INTERRUPTED.value
    OUT_OF_BUDGET = SessionEvent.OUT_OF_BUDGET.value
    FAILED = SessionEvent.FAILED.value


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a sweep at one moment."""

    sweep_id: str
    state: SweepState
    sentence: str
    """Description of the state, with the time of the last event."""

    view: SweepView
    elapsed: float
    """Seconds that the current or last session has run."""

    @property
    def over(self) -> bool:
        """Whether the last session has ended, so that the state will not change."""
        return self.state not in {SweepState.RUNNING, SweepState.SILENT}

    def render(self, *, rows: int = 20) -> Group:
        """Return the state for a terminal, with at most ``rows`` trials."""
        return Group(Text(f"{self.sweep_id}: {self.sentence}"), self.view.render(self.elapsed, rows=rows))


class SweepWatch:
    """Reads the state of a sweep repeatedly; each read fetches only what is new since the last one."""

    def __init__(self, sweep_store: SweepStore, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._results = SweepResults(sweep_store)
        self._study = WatchedStudy(sweep_store)

    def look(self) -> Status:
        """Return the current state of the sweep.

        Raises:
            SweepNotFoundError: there is no such sweep; the message names the sweeps that exist.
        """
        now = self._clock.now()
        board = read_leaderboard(self._results)
        sessions, reports = self._results.sessions(), self._results.reports()
        started = max(session.at for session in sessions if session.event is SessionEvent.STARTED)
        last = sessions[-1]
        heard = max([last.at, *(report["reported_at"] for report in reports)])
        until = now if last.event is SessionEvent.STARTED else last.at
        view = _view(self._study.trials(), board, reports, started=started)
        state, sentence = _state(last.event, started=started, heard=heard, now=now)
        return Status(
            sweep_id=board.sweep_id,
            state=state,
            sentence=sentence,
            view=view,
            elapsed=max(0.0, (until - started).total_seconds()),
        )


def _state(event: SessionEvent, *, started: datetime, heard: datetime, now: datetime) -> tuple[SweepState, str]:
    """Return a sweep's state, and a sentence that describes it.

    Args:
        event: Last event of the sweep's sessions.
        started: When the last session began.
        heard: Time of the last event or report.
        now: Current time.
    """
    ago = duration((now - heard).total_seconds())
    match event:
        case SessionEvent.STARTED:
            if (now - heard).total_seconds() > max(_SILENT, (heard - started).total_seconds() / 2):
                sentence = f"silent for {ago}: the process that ran it may be gone; the same command resumes the sweep"
                return SweepState.SILENT, sentence
            return SweepState.RUNNING, f"running, last report {ago} ago"
        case SessionEvent.FINISHED:
            sentence = f"finished {ago} ago"
        case SessionEvent.INTERRUPTED:
            sentence = f"interrupted {ago} ago; the command that started it resumes it"
        case SessionEvent.OUT_OF_BUDGET:
            sentence = f"stopped {ago} ago with its budget used up; with a larger one the same command resumes it"
        case SessionEvent.FAILED:
            sentence = f"its last session failed {ago} ago; once the cause is fixed, the same command resumes it"
    return SweepState(event), sentence


def _view(known: Sequence[FrozenTrial], board: Leaderboard, reports: list[Row], *, started: datetime) -> SweepView:
    sweep, rows = board.sweep, board.rows
    ended = {row.trial_id: row for row in rows}
    searched = ["case", "seed"] if sweep.cases else board.searched
    view = SweepView(sweep=sweep, searched=searched, num_trials=trials_in_all(board))
    ledger = CostLedger()
    ledger.recall(rows, reports)
    view.spent = spent_in_words(ledger, sweep.budget)
    configs: dict[str, AnyTrialConfig] = {}
    for trial in known:
        settings = settings_of_trial(trial)
        if settings:
            key = layout.trial_name(trial.number)
            configs[key] = kept_config(settings)
            view.trials[key] = _trial_view(configs[key], {"case": case_of_trial(trial), **settings}, TrialState.RUNNING)
    for key, row in ended.items():
        configs[key] = row.config
        settings = {"case": row.case, **configs[key].model_dump()}
        view.trials[key] = _trial_view(configs[key], settings, row.state, earlier=row.ended_at < started)
    for report in sorted(reports, key=lambda report: report["reported_at"]):
        key = report["trial_id"]
        if key not in configs:
            continue  # the storage has no settings of this trial
        view.trials[key].report(
            report[configs[key].unit], report[view.shown_metric], feasible=sweep.keeps_constraints(report)
        )
        recorded = ended[key].teacher_test_accuracy if key in ended else None
        for line in findings(configs[key], report, recorded_teacher_accuracy=recorded).values():
            view.last_warning = f"{key}: {line}"
    for row in sorted(rows, key=lambda row: row.ended_at):
        view.losses += row.recovery_causes
        if row.error:
            view.last_warning = f"{row.trial_id} {row.state}: {row.error}"
    return view


def _trial_view(
    config: AnyTrialConfig, settings: Mapping[str, Any], state: TrialState, *, earlier: bool = False
) -> TrialView:
    return TrialView(settings=settings, state=state, earlier=earlier, unit=config.unit, budget=config.budget)
