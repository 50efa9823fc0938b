"""Expected share of their budgets that a search's trials use, by simulating its early stopping on imagined trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import naming
from orchestrator.schedulers.base import Decision, SchedulerConfig

_IMAGINED = 200
"""Least number of simulated trials, over as many simulated searches as that takes."""

_REPORTS = 20
"""Most reports of a simulated trial."""

_LARGEST = 50
"""Most trials of a simulated search, or twice the number of trials that the scheduler spares if that is more. With more
trials the share hardly changes."""


@dataclass(frozen=True, kw_only=True)
class UsedShare:
    """Mean share of their budgets that trials use, in (0, 1]."""

    least: float
    """Share if each trial is worse than all trials before it, so that trials are stopped as early as possible."""

    expected: float
    """Share if the trials come in random order and each keeps its rank at all reports."""

    @property
    def is_whole(self) -> bool:
        """Whether no trial is stopped."""
        return self.least == 1


WHOLE = UsedShare(least=1.0, expected=1.0)
"""The share if no trial is stopped. In population-based training each member uses its whole budget, over several trials."""


def used_share(config: SchedulerConfig, *, budget: int, report_interval: int, trials: int) -> UsedShare:
    """Return the share of their budgets that trials use which run one after another. Deterministic.

    Args:
        config: Scheduler of the search.
        budget: Budget of one trial.
        report_interval: Budget between two reports, at which trials are compared.
        trials: Number of trials of the search.
    """
    if not config.stops_trials:
        return WHOLE
    size = min(trials, max(_LARGEST, 2 * config.spared_trials))
    random = np.random.default_rng(0)
    between = report_interval * math.ceil(budget / report_interval / _REPORTS)
    places = [*range(between, budget, between), budget]
    falling = _share(config, budget, places, range(size, 0, -1))
    # The further trials of a longer search are all stopped at the earliest point, as those at the end of this one.
    least = falling if trials == size else (size * falling + (trials - size) * min(1.0, config.earliest_stop)) / trials
    searches = range(-(-_IMAGINED // size))
    expected = statistics.fmean(_share(config, budget, places, random.random(size)) for _ in searches)
    return UsedShare(least=min(least, expected), expected=expected)


def _share(config: SchedulerConfig, budget: int, places: Sequence[int], values: Sequence[float] | np.ndarray) -> float:
    """Return the share that trials use which run in this order, each reporting its value at all places."""
    used = 0
    with naming(f"scheduler {config.name}"):
        rule = config.build(mode="max", budget=budget)
        assert rule is not None  # a scheduler that stops trials has a rule
        for number, value in enumerate(values):
            ends = (place for place in places if rule.on_report(str(number), place, float(value)) is Decision.STOP)
            used += next(ends, budget)
    return used / (budget * len(values))
