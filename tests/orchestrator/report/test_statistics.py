from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from orchestrator.analysis.statistics import best_in_random_order, importances, rank_correlation, regret


def test_a_score_that_orders_like_the_values_has_rank_correlation_one() -> None:
    found = rank_correlation([1, 2, 3, 4, 50], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert found and (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    reversed_ = rank_correlation([5, 4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert reversed_ and reversed_.value == pytest.approx(-1)


def test_the_interval_of_a_score_that_says_nothing_holds_zero_and_narrows_with_trials() -> None:
    random = np.random.default_rng(0)
    few, many = (rank_correlation(random.normal(size=n).tolist(), random.normal(size=n).tolist()) for n in (10, 400))
    assert few and many
    assert few.low < 0 < few.high
    assert many.high - many.low < 0.25 < few.high - few.low


def test_too_few_trials_or_a_constant_score_have_no_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert rank_correlation([1] * 9, list(range(9))) is None


def test_the_best_in_random_order_is_the_mean_over_all_orders() -> None:
    values = [0.3, 0.9, 0.5, 0.5]
    found = best_in_random_order(values, maximise=True)
    every = np.array([np.maximum.accumulate(order) for order in permutations(values)])
    assert found.mean == pytest.approx(every.mean(0))
    smallest = best_in_random_order(values, maximise=False)
    assert smallest.mean == pytest.approx(np.array([np.minimum.accumulate(o) for o in permutations(values)]).mean(0))
    assert (found.low[0], found.high[0]) == (0.3, 0.9)
    assert (smallest.low[0], smallest.high[0]) == (0.3, 0.9)


def test_the_band_of_random_order_holds_95_percent() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = best_in_random_order(values.tolist(), maximise=True)
    drawn = np.random.default_rng(1)
    best = np.array([drawn.choice(values, 5, replace=False).max() for _ in range(2000)])
    assert ((best >= found.low[4]) & (best <= found.high[4])).mean() == pytest.approx(0.95, abs=0.03)


def test_what_decides_the_objective_is_the_most_important() -> None:
    random = np.random.default_rng(0)
    steps = random.integers(1, 20, size=40).tolist()
    settings = [{"steps": count, "kind": str(random.choice(["a", "b"])), "fixed": 1} for count in steps]
    values = [count + 0.1 * float(random.normal()) for count in steps]
    found = importances(settings, values)
    assert found and found == importances(settings, values)
    assert list(found) == ["steps", "kind"]
    assert found["steps"].value > 0.9
    assert found["steps"].low <= found["steps"].value <= found["steps"].high


def test_importances_need_trials_and_something_that_varies() -> None:
    assert importances([{"a": number} for number in range(7)], list(range(7))) is None
    assert importances([{"a": 1}] * 9, list(range(9))) is None
    assert importances([{"a": number} for number in range(9)], [1.0] * 9) is None
    assert importances([], []) is None


def test_kendalls_tau_counts_pairs() -> None:
    # Of ten pairs one is in the other order.
    found = rank_correlation([1, 2, 3, 5, 4], [1, 2, 3, 4, 5], by_pairs=True)
    assert found
    assert found.value == pytest.approx(0.8)
    assert found.low < 0.8 <= found.high
    # Tau-b: one of ten pairs is tied on one side.
    tied = rank_correlation([1, 2, 3, 4, 4], [1, 2, 3, 4, 5], by_pairs=True)
    assert tied
    assert tied.value == pytest.approx(9 / np.sqrt(9 * 10))


def test_regret_is_what_the_audit_loses_by_the_scores_choice() -> None:
    labels, audit = [0.5, 0.9, 0.8, 0.7], [0.51, 0.88, 0.90, 0.69]
    assert regret([1, 4, 2, 3], labels, audit).value == 0
    assert regret([1, 2, 3, 4], labels, audit).value == pytest.approx(0.88 - 0.69)
    assert regret([1, 2, 3, 4], labels, audit, among=2).value == pytest.approx(0.88 - 0.90), "it may be luckier"
    assert regret([1, 2, 3, 4], labels, audit, among=3).value == 0
    found = regret([1, 2, 3, 4], labels, audit)
    assert found.low <= 0 < found.value <= found.high


def test_of_the_best_few_a_trial_drawn_twice_is_one() -> None:
    labels = np.linspace(0, 1, 40)
    scores = labels.copy()
    scores[-5:] = scores[-5:][::-1]  # the best five in the wrong order among themselves
    found = regret(scores.tolist(), labels.tolist(), labels.tolist(), among=5)
    assert (found.value, found.low, found.high) == (0, 0, 0), "they hold the best of every sample"


def test_of_equal_scores_the_first_is_chosen_and_the_worst_may_be_infinite() -> None:
    assert regret([1, 1, 0], [0.5, 0.9, 0.1], [0.5, 0.9, 0.1]).value == pytest.approx(0.4)
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    scores = [-math.inf, -math.inf, 0.3, 0.4, 0.5, 0.6]
    for by_pairs in (False, True):
        found = rank_correlation(scores, values, by_pairs=by_pairs)
        assert found is not None
        assert 0.9 < found.value < 1
        assert math.isfinite(found.low)
    assert rank_correlation([-math.inf] * 6, values) is None
