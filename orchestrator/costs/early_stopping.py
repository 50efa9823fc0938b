"""How much of their budgets the trials of a search use: its own early stopping, asked about trials that nobody runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import naming
from orchestrator.schedulers.base import Decision, SchedulerConfig

_IMAGINED = 200
"""Trials that are imagined in all, in as many searches as that makes."""

_REPORTS = 20
"""Reports of an imagined trial at most."""

_LARGEST = 50
"""Trials of an imagined search at most, unless more are spared: by then the share hardly changes any more."""


@dataclass(frozen=True, kw_only=True)
class UsedShare:
    """Mean share of a trial's budget that is used, in (0, 1]."""

    least: float
    """If every trial is worse than all before it, so that all are stopped as soon as they may be."""

    expected: float
    """If trials come in no order: each may as well be better than another as worse, and stays so."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is stopped."""
        return self.least == 1


WHOLE = UsedShare(least=1.0, expected=1.0)
"""Nothing is stopped; population-based training gives each member the whole budget, in parts that are trials."""


def used_share(config: SchedulerConfig, *, budget: int, report_interval: int, trials: int) -> UsedShare:
    """How much of their budgets so many trials use, one after the other. Equal for equal arguments.

    Args:
        config: The early stopping.
        budget: Of one trial.
        report_interval: In the same unit; trials are compared when they report.
        trials: Of the whole search.
    """
    if not config.stops_trials:
        return WHOLE
    size = min(trials, max(_LARGEST, 2 * config.spared_trials))
    random = np.random.default_rng(0)
    between = report_interval * math.ceil(budget / report_interval / _REPORTS)
    places = [*range(between, budget, between), budget]
    falling = _share(config, budget, places, range(size, 0, -1))
    # Of a longer search the others are as those at its end.
    least = falling if trials == size else (size * falling + (trials - size) * min(1.0, config.earliest_stop)) / trials
    searches = range(-(-_IMAGINED // size))
    expected = statistics.fmean(_share(config, budget, places, random.random(size)) for _ in searches)
    return UsedShare(least=min(least, expected), expected=expected)


def _share(config: SchedulerConfig, budget: int, places: Sequence[int], values: Sequence[float] | np.ndarray) -> float:
    """What trials use that report these values at all places, in this order."""
    used = 0
    with naming(f"scheduler {config.name}"):
        rule = config.build(mode="max", budget=budget)
        assert rule is not None  # it stops trials
        for number, value in enumerate(values):
            ends = (place for place in places if rule.on_report(str(number), place, float(value)) is Decision.STOP)
            used += next(ends, budget)
    return used / (budget * len(values))
