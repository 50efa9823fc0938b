"""Two settings compared seed by seed. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
"""Probability with which an interval covers what it is an interval of."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """By how much one setting is above another, over the seeds that both have."""

    n: int
    mean: float
    """nan without a seed."""

    low: float
    high: float
    """The interval of the mean, two-sided, Student's t over the seeds' differences; nan with fewer than two."""

    confidence_above: float
    """Confidence that the true difference is above 0, in [0, 1]: 1 less the one-sided p-value of the paired t-test times the
    number of comparisons (Bonferroni). Above 97.5 % just where the whole interval lies above 0; nan with fewer than two
    seeds."""


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, comparisons: int = 1
) -> PairedDifference:
    """The difference ``ours - theirs``.

    Runs with equal seeds start from the same networks and latents where their settings allow it, which takes a part of the
    luck out of the comparison; where it does not, the interval is merely wider.

    Args:
        ours: A metric by seed.
        theirs: The same metric of what it is compared with.
        comparisons: How many such differences are looked at together, the best of which is told. The intervals are so wide
            that all of them hold the truth with at least 95 % (Bonferroni), and the confidence allows for as many chances
            to look good by luck.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    mean = statistics.fmean(differences) if differences else math.nan
    low = high = confidence = math.nan
    if len(differences) > 1:
        freedom = len(differences) - 1
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        half = t_quantile(freedom, 1 - 0.05 / comparisons) * error
        low, high = mean - half, mean + half
        confidence = max(0.0, 1 - comparisons * _p_value(mean, error, freedom))
    return PairedDifference(n=len(differences), mean=mean, low=low, high=high, confidence_above=confidence)


def _p_value(mean: float, error: float, freedom: int) -> float:
    """How likely luck alone gives a mean so far above 0, in [0, 1]."""
    from scipy.special import stdtr  # slow to import

    if error == 0:
        return 0.5 if mean == 0 else float(mean < 0)
    return float(stdtr(freedom, -mean / error))


@cache
def t_quantile(degrees_of_freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the half width of an interval by Student's t, in standard errors."""
    # scipy takes longer to import than everything else in this package, and tables are often only shown.
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))
