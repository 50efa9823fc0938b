"""Comparison of two settings seed by seed. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
"""Probability with which an interval covers the true value."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference of a metric between two settings, over the seeds that both have."""

    n: int
    """Number of seeds that both settings have."""

    mean: float
    """Mean difference; NaN without a common seed."""

    low: float
    high: float
    """Two-sided interval of the mean, by Student's t over the seeds' differences; NaN with fewer than two seeds."""

    confidence_above: float
    """Confidence that the true difference is above 0, in [0, 1]: 1 minus the one-sided p-value of the paired t-test times
    the number of comparisons (Bonferroni). It exceeds 97.5 % exactly if the whole interval lies above 0. NaN with fewer than
    two seeds."""


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, comparisons: int = 1
) -> PairedDifference:
    """Return the difference ``ours - theirs``.

    Runs with equal seeds start from the same networks and latents if their settings allow it, so that pairing removes a part
    of the variance between seeds. If it does not, the interval is only wider.

    Args:
        ours: Values of a metric by seed.
        theirs: Values of the same metric by seed, of the setting to compare with.
        comparisons: Number of such differences of which the best is reported. The intervals are widened so that all of them
            cover the true values at once with at least 95 % (Bonferroni), and the confidence is corrected likewise.
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
    """Return the probability, in [0, 1], that chance alone gives a mean at least so far above 0."""
    from scipy.special import stdtr  # slow to import

    if error == 0:
        return 0.5 if mean == 0 else float(mean < 0)
    return float(stdtr(freedom, -mean / error))


@cache
def t_quantile(degrees_of_freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the half width, in standard errors, of a two-sided interval by Student's t."""
    # Imported here: scipy takes longer to import than all else in this package, and showing tables often needs none of it.
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + confidence) / 2))
