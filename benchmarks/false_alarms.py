"""Error rates of verdicts on the digits, by resampling the stored runs of ``benchmarks.digits_runs``.

    python -m benchmarks.false_alarms

The runs of a verdict are treated as draws, with replacement, from the stored runs. Rounding differs between processors and
changes a run as much as another seed does, so resampling over seeds also represents other processors. Resampling cannot
show what no stored run shows: after 60 runs without a collapse, the rate of collapses may still be 5 in 100 (95 %).
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
"""Number of test images of the digits; accuracies are multiples of its reciprocal."""

BAND_LEAVES_OUT = 1e-5
"""Probability, on each side, that the mean of the preset's runs lies outside the digits' acceptance range."""

TEACHER_STD = 0.008
"""Standard deviation of the teacher's accuracy over seven seeds (92.8 to 95.1 %). The stored runs share one teacher; on
another processor rounding gives another teacher, on which the students depend. Teachers of different seeds differ more than
rounding alone makes them differ."""

TEACHER_MARGIN = 0.03
"""Margin on each side of the acceptance range for other teachers."""

SHIFTS = (0.03, 0.05, 0.08)
"""Losses of accuracy of worse loops, for which the detection rate is computed."""

STRICT = 1 - 1e-6
"""Confidence with which the tests on faults call a loop off its curve; strict, since the tests run daily."""


def distribution_of_mean(values: Sequence[float], n: int) -> np.ndarray:
    """Return the probability of each possible sum of correct answers over n runs drawn with replacement.

    The probabilities are exact, by convolution.

    Args:
        values: Accuracies, multiples of 1 / ``TEST_IMAGES``.
        n: Number of runs, at least 1.
    """
    single = np.bincount([round(value * TEST_IMAGES) for value in values], minlength=TEST_IMAGES + 1) / len(values)
    found = single
    for _ in range(n - 1):
        found = np.convolve(found, single)
    return found


def mean_outside(values: Sequence[float], n: int, low: float, high: float) -> float:
    """Return the probability that the mean of n runs drawn with replacement lies outside a range."""
    probabilities = distribution_of_mean(values, n)
    means = np.arange(len(probabilities)) / (n * TEST_IMAGES)
    return float(probabilities[(means < low - 1e-9) | (means > high + 1e-9)].sum())


def false_alarm_rate(values: Sequence[float], n: int, low: float, high: float) -> float:
    """Return the probability that the mean of n runs with another teacher lies outside a range.

    The accuracy of the teacher, and with it that of all runs, is shifted by a normal variable with ``TEACHER_STD``.
    """
    shifts = np.arange(-60, 61) / TEST_IMAGES
    weights = np.exp(-((shifts / TEACHER_STD) ** 2) / 2)
    outside = [mean_outside([value + shift for value in values], n, low, high) for shift in shifts]
    return float(np.average(outside, weights=weights))


def acceptance_range(values: Sequence[float], n: int, leaves_out: float = BAND_LEAVES_OUT) -> tuple[float, float]:
    """Return a range outside which the mean of ``n`` runs lies with probability ``leaves_out`` at most on each side.

    The ends are multiples of half a point, widened by ``TEACHER_MARGIN``.
    """
    probabilities = distribution_of_mean(values, n)
    steps = np.arange(0, 201) / 200
    means = np.arange(len(probabilities)) / (n * TEST_IMAGES)
    low = max(step for step in steps if probabilities[means < step - 1e-9].sum() <= leaves_out)
    high = min(step for step in steps if probabilities[means > step + 1e-9].sum() <= leaves_out)
    return round(float(low) - TEACHER_MARGIN, 3), round(float(high) + TEACHER_MARGIN, 3)


def off_curve_rate(values: Sequence[float], n: int, healthy: Sequence[float]) -> float:
    """Return the probability that n runs drawn with replacement are judged off the curve of the healthy runs.

    The probability is exact, by enumeration of all possible draws.
    """
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
    """Print the acceptance range for ``published.yaml`` that the stored runs give, and the error rates of verdicts."""
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
