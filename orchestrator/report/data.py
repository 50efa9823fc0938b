"""The data of a report, read from the result store: trials with their reports, comparable at equal shares of the budget."""

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
"""Name of the step ratio, the quotient of two stored fields: ``student_steps`` by ``generator_steps``."""

_RATIO_FIELDS = ("generator_steps", "student_steps")
_ENOUGH = 3
"""Minimum number of trials for a comparison before the end of the budget."""

_SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial, with its settings and its reports in order."""

    trial_id: str
    number: int
    state: TrialState

    case: str | None
    settings: Mapping[str, Any]
    """All fields of the trial's config; empty for a running trial whose study cannot be read."""

    shares: Sequence[float]
    """Share of the trial's budget that was used at each report, in (0, 1]; empty if the budget is not known."""

    reports: Sequence[Row]
    row: TrialRecord | None
    """The trial's row in the table of trials. None while the trial runs."""

    @property
    def ended_well(self) -> bool:
        """Whether the trial's state has a valid result: the trial neither runs, nor failed or diverged."""
        return self.state.has_result

    def at(self, share: float, metric: str) -> float | None:
        """Return a metric at a share of the budget; None if the trial ended before or the metric is not finite."""
        if not self.shares or self.shares[-1] < share - _SAME:
            return None
        last = max(number for number, used in enumerate(self.shares) if used <= share + _SAME or number == 0)
        return finite(self.reports[last].get(metric))

    def value(self, setting: str) -> Any:
        """Return the value of a setting, or the step ratio for ``STEP_RATIO``; None if it is not known."""
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
    """The objective of each trial at this share."""

    @property
    def label(self) -> str:
        """Label of the comparison's tab."""
        return f"at {self.share:.0%} of the budget (n={len(self.trials)})"


@dataclass(frozen=True, kw_only=True)
class SweepData:
    """The data of one sweep that a report needs."""

    sweep_id: str
    sweep: SweepConfig
    board: Leaderboard
    trials: list[Trial]
    sessions: list[SessionRecord]
    searched: list[str]

    @property
    def ended_of_all(self) -> str:
        """Number of ended trials and of all trials, such as ``17 of 18``; see ``distinct.ended_of_all``."""
        return ended_of_all(self.board)

    @property
    def metric(self) -> str:
        """Metric by which trials are compared.

        The objective; for a sweep of cases test accuracy, or ``data_free_score`` if no case reads images.
        """
        if self.sweep.objective:
            return self.sweep.objective
        return TEST_ACCURACY if any(config.reads_images for config in self.sweep.configs()) else "data_free_score"

    @property
    def sign(self) -> int:
        """1 if larger values of the objective are better, else -1."""
        return 1 if self.sweep.mode == "max" else -1

    @property
    def is_share(self) -> bool:
        """Whether the metric is shown in percent."""
        return is_share(self.metric)

    @property
    def axes(self) -> list[str]:
        """Settings that vary: first the step ratio in place of the two step counts, then the temperature, then the rest."""
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
        """The lowest trial on the leaderboard that has a result. None if fewer than two trials have one."""
        ranked = [row.trial_id for row in self.board.rows if row.state.has_result]
        return self.trial(ranked[-1]) if len(ranked) > 1 else None

    @property
    def published(self) -> Trial | None:
        """The trial with the published settings. None if no such trial has ended."""
        row = self.board.published
        return self.trial(row.trial_id) if row else None

    def trial(self, trial_id: str) -> Trial:
        """Return the trial with this id."""
        return next(trial for trial in self.trials if trial.trial_id == trial_id)

    def comparisons(self) -> list[Comparison]:
        """Return comparisons of trials at equal shares of their budgets.

        One is at the whole budget, of the trials that used it. With enough trials another is at the share at which the first
        trial was stopped, of all trials with a result.
        """
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
    """Read the data of a sweep, running or ended.

    Raises:
        SweepNotFoundError: the storage has no results of the sweep; the message lists the sweeps that it has.
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
    """Return the name of a field or metric as words, without underscores."""
    return name.replace("_", " ")


def shown(value: float | None, metric: str, *, digits: int = 2) -> str:
    """Format a metric's value for tables, shares in percent; empty if the value is None."""
    if value is None:
        return ""
    return f"{value:.{digits}%}" if is_share(metric) else f"{value:.4g}"


def _running(sweep_store: SweepStore) -> dict[str, tuple[AnyTrialConfig, str | None]]:
    """Read the config and case of each trial from the sweep's study, ended trials included."""
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
        config = sweep.configs()[0]  # without equal budgets, all trials of a search have this budget
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
