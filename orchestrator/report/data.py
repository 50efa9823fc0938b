"""What a report is about, read from the result store: trials with their reports, comparable at equal budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.leaderboard import Leaderboard, read_leaderboard
from orchestrator.config import SweepConfig
from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.results import Row, SessionRecord, SweepSource, TrialRecord, TrialState, kept_config, results_of
from orchestrator.search.distinct import ended_of_all
from orchestrator.search.study import WatchedStudy, case_of_trial, settings_of_trial
from orchestrator.storage import SweepStore, layout
from trainables.config import AnyTrialConfig
from trainables.metrics import finite, is_share

STEP_RATIO = "student steps per generator step"
"""The quotient of the two integers that are stored."""

_RATIO_FIELDS = ("generator_steps", "student_steps")
_ENOUGH = 3
"""Trials without which nothing is compared before the end of the budget."""

_SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: its settings and what it has reported, in order."""

    trial_id: str
    number: int
    state: TrialState

    case: str | None
    settings: Mapping[str, Any]
    """All fields of its config; empty of a running one whose study is not there to tell them."""

    shares: Sequence[float]
    """How much of its budget was used at each report, in (0, 1]; empty where the budget is not known."""

    reports: Sequence[Row]
    row: TrialRecord | None
    """Its row in the table of trials; none while it runs."""

    @property
    def ended_well(self) -> bool:
        """Whether its numbers mean what they say."""
        return self.state.has_result

    def at(self, share: float, metric: str) -> float | None:
        """Return a metric after a share of the budget; None if the trial ended before or the metric is not finite."""
        if not self.shares or self.shares[-1] < share - _SAME:
            return None
        last = max(number for number, used in enumerate(self.shares) if used <= share + _SAME or number == 0)
        return finite(self.reports[last].get(metric))

    def value(self, setting: str) -> Any:
        """Return a setting, or the step ratio; None if it is not known."""
        if setting == STEP_RATIO:
            generator, student = (self.settings.get(name) for name in _RATIO_FIELDS)
            return None if not generator or student is None else student / generator
        return self.settings.get(setting)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Trials at one share of their budget."""

    share: float
    trials: Sequence[Trial]
    values: Sequence[float]
    """The objective of each."""

    @property
    def label(self) -> str:
        """What a tab calls it."""
        return f"at {self.share:.0%} of the budget (n={len(self.trials)})"


@dataclass(frozen=True, kw_only=True)
class SweepData:
    """One sweep as a report needs it."""

    sweep_id: str
    sweep: SweepConfig
    board: Leaderboard
    trials: list[Trial]
    sessions: list[SessionRecord]
    searched: list[str]

    @property
    def ended_of_all(self) -> str:
        """``17 of 18``: see ``workload.ended_of_all``."""
        return ended_of_all(self.board)

    @property
    def metric(self) -> str:
        """What trials are compared by: the objective, or of cases the audit, without one the score that needs no images."""
        if self.sweep.objective:
            return self.sweep.objective
        return TEST_ACCURACY if any(config.reads_images for config in self.sweep.configs()) else "data_free_score"

    @property
    def sign(self) -> int:
        """1 where large is good, else -1."""
        return 1 if self.sweep.mode == "max" else -1

    @property
    def is_share(self) -> bool:
        """Whether the objective is shown in percent."""
        return is_share(self.metric)

    @property
    def axes(self) -> list[str]:
        """What varies: the two step counts as their ratio first, then the temperature, then the rest."""
        ratio = [STEP_RATIO] if set(self.searched) & set(_RATIO_FIELDS) else []
        others = [name for name in self.searched if name not in _RATIO_FIELDS]
        return [*ratio, *sorted(others, key=lambda name: name != "temperature")]

    @property
    def best(self) -> Trial | None:
        """The best trial that used its whole budget."""
        row = self.board.best
        return self.trial(row.trial_id) if row else None

    @property
    def worst(self) -> Trial | None:
        """The one at the other end of the leaderboard that still has numbers."""
        ranked = [row.trial_id for row in self.board.rows if row.state.has_result]
        return self.trial(ranked[-1]) if len(ranked) > 1 else None

    @property
    def published(self) -> Trial | None:
        """The trial with the published settings, if there is one that has ended."""
        row = self.board.published
        return self.trial(row.trial_id) if row else None

    def trial(self, trial_id: str) -> Trial:
        """Return the trial with an id."""
        return next(trial for trial in self.trials if trial.trial_id == trial_id)

    def comparisons(self) -> list[Comparison]:
        """Trials at equal shares of their budgets: those that used it up, and all where the first of them was stopped."""
        well = [trial for trial in self.trials if trial.ended_well and trial.shares]
        reached = [trial.shares[-1] for trial in well]
        shares = {1.0} | ({min(reached)} if len(well) >= _ENOUGH else set())
        found = [self._compared(share, well) for share in sorted(shares, reverse=True)]
        return [comparison for comparison in found if comparison.trials]

    def _compared(self, share: float, trials: Sequence[Trial]) -> Comparison:
        values = [(trial, trial.at(share, self.metric)) for trial in trials]
        there = [(trial, value) for trial, value in values if value is not None]
        return Comparison(share=share, trials=[trial for trial, _ in there], values=[value for _, value in there])


def read_sweep(source: SweepSource) -> SweepData:
    """Read a sweep, running or ended.

    Raises:
        SweepNotFoundError: there is none; the message names those that are there.
    """
    results = results_of(source)
    board = read_leaderboard(results)
    reports: dict[str, list[Row]] = {}
    for report in results.reports():
        reports.setdefault(report["trial_id"], []).append(report)
    rows = {row.trial_id: row for row in board.rows}
    running = _running(results.sweep_store) if reports.keys() - rows.keys() else {}
    trials = [
        _trial(key, rows.get(key), running.get(key), reports.get(key, []), board.sweep)
        for key in sorted(rows.keys() | reports)
    ]
    return SweepData(
        sweep_id=board.sweep_id,
        sweep=board.sweep,
        board=board,
        trials=sorted(trials, key=lambda trial: trial.number),
        sessions=results.sessions(),
        searched=board.searched,
    )


def words(name: str) -> str:
    """Return a field's or metric's name in words."""
    return name.replace("_", " ")


def shown(value: float | None, metric: str, *, digits: int = 2) -> str:
    """Return a metric's value as tables show it: shares in percent."""
    if value is None:
        return ""
    return f"{value:.{digits}%}" if is_share(metric) else f"{value:.4g}"


def _running(sweep_store: SweepStore) -> dict[str, tuple[AnyTrialConfig, str | None]]:
    """Config and case of each trial by its study; of those that have ended too."""
    found = {}
    for trial in WatchedStudy(sweep_store).trials():
        if settings := settings_of_trial(trial):
            config = kept_config(settings)
            found[layout.trial_name(trial.number)] = config, case_of_trial(trial)
    return found


def _trial(
    trial_id: str,
    row: TrialRecord | None,
    begun: tuple[AnyTrialConfig, str | None] | None,
    reports: list[Row],
    sweep: SweepConfig,
) -> Trial:
    config, case = (row.config, row.case) if row is not None else begun or (None, None)
    settings = {} if config is None else config.model_dump()
    if config is None and not sweep.cases and not sweep.equal_budget:
        config = sweep.configs()[0]  # whose budget is that of all trials
    return Trial(
        trial_id=trial_id,
        number=int(trial_id[1:]),
        state=row.state if row else TrialState.RUNNING,
        case=case,
        settings=settings,
        shares=[] if config is None else [sweep.share_used(config, report) for report in reports],
        reports=reports,
        row=row,
    )
