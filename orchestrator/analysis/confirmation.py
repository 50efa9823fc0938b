"""Results of confirming a search: its best settings compared with the published ones, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from orchestrator.analysis.cases import CaseResults, read_cases
from orchestrator.analysis.leaderboard import Leaderboard
from orchestrator.analysis.paired import PairedDifference, paired_difference
from orchestrator.config import BASELINE, SweepConfig
from orchestrator.config.fields import TEST_ACCURACY
from orchestrator.formatting import mean_and_deviation
from orchestrator.results import SweepSource, results_of
from trainables.metrics import is_share


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The results of confirming a search. ``finished`` is False if trials are missing because a session was interrupted."""

    sweep: SweepConfig
    sweep_id: str
    finished: bool
    results: CaseResults
    search: SweepConfig
    """The search that is confirmed."""

    @property
    def objective(self) -> str:
        """Objective of the search."""
        assert self.search.objective is not None  # a search has one
        return self.search.objective

    def difference(self, case: str) -> PairedDifference:
        """Return by how much a case is better than the published settings in the objective; above 0 is better.

        The best case is chosen and judged on the same seeds, so that interval and confidence hold for all cases at once.
        """
        ours, theirs = (
            {seed: self.search.merit(value) for seed, value in self.results.by_seed(name, self.objective).items()}
            for name in (case, BASELINE)
        )
        return paired_difference(ours, theirs, comparisons=self.comparisons)

    @property
    def comparisons(self) -> int:
        """Number of settings that are compared with the published ones, at least 1."""
        return max(1, len(self.sweep.cases) - 1)

    @property
    def confidence(self) -> str:
        """Confidence level of the intervals, for headings and sentences."""
        return "95 %" if self.comparisons == 1 else f"95 % for all {self.comparisons} at once"

    @property
    def sureness(self) -> str:
        """Heading of the column with the confidence that a setting is better, corrected for the number of settings."""
        return "sure it is better" + ("" if self.comparisons == 1 else f" ({self.comparisons} at once)")

    @property
    def best(self) -> str:
        """The case with the best mean objective; that of the published settings if no trial has a value."""
        means = {
            case: self.search.merit(statistics.fmean(values))
            for case in self.sweep.cases
            if (values := self.results.values(case, self.objective))
        }
        return max(means, key=lambda case: means[case], default=BASELINE)

    def table(self) -> Table:
        """Return a table for a terminal, with a row for each setting."""
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in (
            "setting",
            "n",
            f"{self.objective}, mean ± std (population)",
            f"better than published by [{self.confidence}]",
            self.sureness,
            "test, mean ± std (population)" + ("" if self.search.selects_on_test else ", audit"),
        ):
            table.add_column(heading, justify="left" if heading == "setting" else "right")
        for case in self.sweep.cases:
            values = self.results.values(case, self.objective)
            difference = self.difference(case)
            of_published = case == BASELINE
            table.add_row(
                "published" if of_published else case,
                str(len(values)),
                _numbers(values, self.objective),
                Text("" if of_published else _interval(difference, self.objective)),
                "" if of_published else _share(difference.confidence_above),
                mean_and_deviation(self.results.values(case, TEST_ACCURACY), ".2%"),
            )
        return table

    def conclusion(self) -> str:
        """Return a sentence on whether the search found better settings, and one more if it selected on test data."""
        chosen = " The search chose on test data, so none of these numbers is an audit."
        return self._finding() + (chosen if self.search.selects_on_test else "")

    def _finding(self) -> str:
        if self.best == BASELINE:
            return "None of these settings is better than the published ones on average."
        found = self.difference(self.best)
        settings = ", ".join(f"{field}={value}" for field, value in self.sweep.cases[self.best].items())
        name = f"{self.best} ({settings})"
        if math.isnan(found.low):
            return f"{name} is best so far; more seeds are needed to say how surely."
        if found.low > 0:
            return f"{name} is better than the published settings: the whole interval lies above 0."
        return (
            f"{name} is best on average, but the interval contains 0: it may be no better than the published settings."
        )


def read_confirmation(source: SweepSource, board: Leaderboard) -> Confirmation | None:
    """Read the results of confirming a search so far, without running trials; None if there is no confirmation.

    Args:
        source: The search.
        board: Leaderboard of the search.
    """
    results = results_of(source).confirming()
    sessions = results.sessions()
    if not sessions or board.sweep.objective is None:
        return None
    sweep = sessions[-1].config
    cases = read_cases(results, sweep)
    return Confirmation(
        sweep=sweep,
        sweep_id=results.sweep_id,
        finished=len(cases.rows) + len(cases.others) >= sweep.num_trials,
        results=cases,
        search=board.sweep,
    )


def _numbers(values: Sequence[float], metric: str) -> str:
    """Return mean and population standard deviation in words, in percent for shares, else as plain numbers."""
    number, deviation = (".2%", ".2%") if is_share(metric) else (".4g", ".2g")
    return mean_and_deviation(values, number, deviation)


def _interval(difference: PairedDifference, metric: str) -> str:
    """Return a difference with its interval in words, in percentage points for shares; empty if it is NaN."""
    if math.isnan(difference.mean):
        return ""
    factor, digits = (100, "+.2f") if is_share(metric) else (1, "+.3g")
    mean, low, high = (format(factor * value, digits) for value in (difference.mean, difference.low, difference.high))
    return mean if math.isnan(difference.low) else f"{mean} [{low}, {high}]"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0%}"
