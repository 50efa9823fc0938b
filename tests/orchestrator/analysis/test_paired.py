from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.paired import paired_difference


def test_the_interval_and_the_confidence_are_those_of_the_paired_t_test() -> None:
    ours, theirs = {1: 0.80, 2: 0.84, 3: 0.79, 4: 0.90}, {1: 0.78, 2: 0.80, 3: 0.80, 4: 0.85}
    found = paired_difference(ours, theirs)
    reference = stats.ttest_rel(list(ours.values()), list(theirs.values()))
    interval = reference.confidence_interval(0.95)
    assert found.n == 4
    assert [found.mean, found.low, found.high] == pytest.approx([0.025, interval.low, interval.high])
    one_sided = stats.ttest_rel(list(ours.values()), list(theirs.values()), alternative="greater")
    assert found.confidence_above == pytest.approx(1 - one_sided.pvalue)


def test_of_several_differences_at_once_interval_and_confidence_allow_for_the_choice() -> None:
    ours, theirs = {1: 0.80, 2: 0.84, 3: 0.79, 4: 0.90}, {1: 0.78, 2: 0.80, 3: 0.80, 4: 0.85}
    alone, one_of_five = paired_difference(ours, theirs), paired_difference(ours, theirs, comparisons=5)
    interval = stats.ttest_rel(list(ours.values()), list(theirs.values())).confidence_interval(0.99)
    assert [one_of_five.low, one_of_five.high] == pytest.approx([interval.low, interval.high])
    assert one_of_five.mean == alone.mean
    assert 1 - one_of_five.confidence_above == pytest.approx(5 * (1 - alone.confidence_above))
    worse = paired_difference(theirs, ours, comparisons=5)
    assert worse.confidence_above == 0


@given(
    differences=st.lists(st.floats(-1, 1), min_size=2, max_size=6),
    comparisons=st.integers(1, 20),
)
def test_the_confidence_says_what_the_interval_says(differences: list[float], comparisons: int) -> None:
    found = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(6), 0.0), comparisons=comparisons)
    assume(abs(found.low) > 1e-9)  # where rounding decides
    assert (found.confidence_above > 0.975) == (found.low > 0)


def test_only_seeds_that_both_have_are_compared() -> None:
    found = paired_difference({1: 0.5, 2: 0.9}, {2: 0.4, 3: 0.1})
    assert found.n == 1
    assert found.mean == pytest.approx(0.5)
    assert all(map(math.isnan, (found.low, found.high, found.confidence_above)))
    assert math.isnan(paired_difference({}, {1: 0.5}).mean)


@pytest.mark.parametrize(("difference", "confidence"), [(0.125, 1.0), (0.0, 0.5), (-0.125, 0.0)])
def test_equal_differences_leave_no_doubt(difference: float, confidence: float) -> None:
    found = paired_difference(dict.fromkeys(range(3), 0.5 + difference), dict.fromkeys(range(3), 0.5))
    assert (found.low, found.high, found.confidence_above) == (difference, difference, confidence)
