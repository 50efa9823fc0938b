"""How often verdicts on the digits would be wrong, resampled from the kept runs of ``benchmarks.digits_runs``.

    python -m benchmarks.false_alarms

Runs that a verdict looks at are taken for draws, with replacement, from the kept ones. Rounding differs between processors
and sends a run of one seed another way, as another seed would; so resampling over seeds stands for other processors too.
What no kept run shows, resampling cannot show either: of 60 runs without a collapse, collapses may still be 5 in 100 (95 %).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.digits_runs import PRESET, kept_accuracies
from orchestrator.config.loading import load_sweep
from orchestrator.reproduction import Verdict, judge_on_curve

TEST_IMAGES = 1000
"""Accuracies on the digits are multiples of one in so many."""

BAND_LEAVES_OUT = 1e-5
"""Probability, on either side, that the mean of the preset's runs falls out of the digits' acceptance range."""

TEACHER_STD = 0.008
"""Standard deviation of the teacher's accuracy, seven seeds: 92.8 to 95.1 %. The kept runs share one teacher, rounding makes
another one on another processor, and its students follow it; other seeds make teachers that differ more than by rounding."""

TEACHER_MARGIN = 0.03
"""By how much the acceptance range is wider on either side for it."""

SHIFTS = (0.03, 0.05, 0.08)
"""By how much worse loops are asked for."""

STRICT = 1 - 1e-6
"""Confidence with which the tests on faults call a loop off its curve, since they are run daily."""


def distribution_of_mean(values: Sequence[float], n: int) -> np.ndarray:
    """Probability of each possible sum of right answers over n runs drawn with replacement; exact, by convolution.

    Args:
        values: Accuracies, multiples of 1 / ``TEST_IMAGES``.
        n: Runs, at least 1.
    """
    single = np.bincount([round(value * TEST_IMAGES) for value in values], minlength=TEST_IMAGES + 1) / len(values)
    found = single
    for _ in range(n - 1):
        found = np.convolve(found, single)
    return found


def mean_outside(values: Sequence[float], n: int, low: float, high: float) -> float:
    """Probability that the mean of n runs drawn with replacement lies outside a range."""
    probabilities = distribution_of_mean(values, n)
    means = np.arange(len(probabilities)) / (n * TEST_IMAGES)
    return float(probabilities[(means < low - 1e-9) | (means > high + 1e-9)].sum())


def false_alarm_rate(values: Sequence[float], n: int, low: float, high: float) -> float:
    """Probability that the mean of n runs lies outside a range, their teacher another one (normal, ``TEACHER_STD``)."""
    shifts = np.arange(-60, 61) / TEST_IMAGES
    weights = np.exp(-((shifts / TEACHER_STD) ** 2) / 2)
    outside = [mean_outside([value + shift for value in values], n, low, high) for shift in shifts]
    return float(np.average(outside, weights=weights))


def acceptance_range(values: Sequence[float], n: int, leaves_out: float = BAND_LEAVES_OUT) -> tuple[float, float]:
    """Return the range that the mean of ``n`` runs leaves on either side with probability ``leaves_out`` at most.

    In steps of half a point, widened by the margin for the teacher.
    """
    probabilities = distribution_of_mean(values, n)
    steps = np.arange(0, 201) / 200
    means = np.arange(len(probabilities)) / (n * TEST_IMAGES)
    low = max(step for step in steps if probabilities[means < step - 1e-9].sum() <= leaves_out)
    high = min(step for step in steps if probabilities[means > step + 1e-9].sum() <= leaves_out)
    return round(float(low) - TEACHER_MARGIN, 3), round(float(high) + TEACHER_MARGIN, 3)


def off_curve_rate(values: Sequence[float], n: int, healthy: Sequence[float]) -> float:
    """Probability that n runs drawn with replacement are called off the curve of the healthy ones; looks at every draw."""
    rate = 0.0
    counts = Counter(values)
    for drawn in itertools.combinations_with_replacement(sorted(counts), n):
        ways = math.factorial(n)
        for value, times in Counter(drawn).items():
            ways = ways // math.factorial(times) * counts[value] ** times
        judged = judge_on_curve(drawn, healthy, spread=None, confidence=STRICT)
        rate += ways * (judged.verdict is Verdict.OFF_CURVE)
    return rate / math.pow(len(values), n)


def main() -> None:
    """Print the line for ``published.yaml`` that the kept runs give, and how often verdicts by it would be wrong."""
    values, plain = list(kept_accuracies("exact").values()), kept_accuracies("plain")
    runs = len(load_sweep(PRESET).seeds)
    low, high = acceptance_range(values, runs)
    print(f"{len(values)} runs: {statistics.fmean(values):.4f} ± {statistics.pstdev(values):.4f} (population)")
    print(f"median {statistics.median(values):.4f}, lowest {min(values):.4f}, highest {max(values):.4f}")
    print(f"values of the plain loop: {list(plain.values())}")
    print(f"acceptance range of the mean of {runs}: {{low: {low:.3f}, high: {high:.3f}}}")
    print(f"a sound loop falls out of it with probability {false_alarm_rate(values, runs, low, high):.1e}")
    for shift in SHIFTS:
        worse = [value - shift for value in values]
        print(f"a loop that is {100 * shift:.0f} points worse: {false_alarm_rate(worse, runs, low, high):.1%}")


if __name__ == "__main__":
    main()
