"""What a report computes from trials: rank correlations, importances, and what order is worth. Pure and seeded.

Intervals are of 95 %, from trials drawn again with replacement (the percentile bootstrap), unless it is said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENDS = (0.025, 0.975)
_DRAWS = 500
"""Bootstrap samples of a rank correlation."""

_FORESTS = 12
"""Bootstrap samples of importances, each with a forest of its own."""

_TREES = 16
_MOST_TRIALS = 120
"""Trials from which a forest is grown: more cost time and move the importances less than another forest does."""

ENOUGH_FOR_IMPORTANCE = 8
"""Trials below which a forest has nothing to split."""

ENOUGH_FOR_RANKS = 5
"""Trials below which an interval of a rank correlation spans everything."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RandomOrder:
    """The best so far when the same trials come in random order: for 1, 2, ... trials, each (n,)."""

    mean: Array
    low: Array
    high: Array


def rank_correlation(
    scores: Sequence[float], values: Sequence[float], *, by_pairs: bool = False, seed: int = 0
) -> Estimate | None:
    """Spearman's correlation, in [-1, 1]; none for too few trials, or where one side is constant.

    Args:
        scores: What is to rank the trials.
        values: What they should be ranked by.
        by_pairs: Kendall's tau-b instead: pairs in the same order less those in the other, as a share.
        seed: Of the bootstrap.
    """
    a, b = _ranks(scores), _ranks(values)
    if len(a) < ENOUGH_FOR_RANKS or not (np.ptp(a) and np.ptp(b)):
        return None
    correlation = _kendall if by_pairs else _spearman
    drawn = np.random.default_rng(seed).integers(len(a), size=(_DRAWS, len(a)))
    found = correlation(a[drawn], b[drawn])
    low, high = np.nanquantile(found, _ENDS)
    return Estimate(value=float(correlation(a[None], b[None])[0]), low=float(low), high=float(high))


def regret(
    scores: Sequence[float], labels: Sequence[float], audit: Sequence[float], *, among: int = 1, seed: int = 0
) -> Estimate:
    """What choosing by a score costs against choosing by labels, in units of the audit; below 0 where it was luckier.

    Of trials with equal values the first counts as the better. The interval is rough: of the best of a sample a bootstrap
    promises less than of a mean. A trial drawn twice takes one place, or the best few would be fewer.

    Args:
        scores: What one trial is chosen by, the larger the better.
        labels: What it would be chosen by if there were labels, likewise.
        audit: What the choices are compared in. Not the labels, for the best of many is partly the luckiest.
        among: The score chooses so many, of which labels choose one.
        seed: Of the bootstrap.
    """
    a, b, c = (np.asarray(side, dtype=float) for side in (scores, labels, audit))
    drawn = np.random.default_rng(seed).integers(len(a), size=(_DRAWS, len(a)))
    low, high = np.quantile([_regret(a[rows], b[rows], c[rows], among) for rows in map(np.unique, drawn)], _ENDS)
    return Estimate(value=_regret(a, b, c, among), low=float(low), high=float(high))


def best_in_random_order(values: Sequence[float], *, maximise: bool) -> RandomOrder:
    """Exactly: of k trials drawn from all without replacement, the mean and the 2.5 % and 97.5 % quantiles of the best."""
    sign = 1 if maximise else -1
    ranked = np.sort(sign * np.asarray(values, dtype=float))
    n = len(ranked)
    below = np.ones(n)
    """Probability that all of k drawn trials are at most the one of this rank: C(rank, k) / C(n, k), from k - 1."""
    means, lows, highs = [], [], []
    ranks = np.arange(1, n + 1, dtype=float)
    for k in range(1, n + 1):
        below = below * np.clip(ranks - k + 1, 0, None) / (n - k + 1)
        chance = np.diff(below, prepend=0.0)
        means.append(float(chance @ ranked))
        low, high = (ranked[min(n - 1, int(np.searchsorted(below, end - 1e-12)))] for end in _ENDS)
        lows.append(float(low))
        highs.append(float(high))
    low, high = (lows, highs) if maximise else (highs, lows)
    return RandomOrder(mean=sign * np.array(means), low=sign * np.array(low), high=sign * np.array(high))


def importances(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float], *, seed: int = 0
) -> dict[str, Estimate] | None:
    """Share of the objective's variance that each setting explains by itself and with others (fANOVA), largest first.

    Optuna's evaluator grows a forest on each bootstrap sample; the value is the mean over forests. Domains are what the
    trials span, so a setting that was hardly varied explains little.

    Args:
        settings: The same keys for each trial; values of one key are all numbers, or else are taken as categories.
        values: The objective of each trial.
        seed: Of bootstrap and forests.

    Returns:
        By setting; none for too few trials, or where nothing varies.
    """
    varied = [name for name in settings[0] if len({row[name] for row in settings}) > 1] if settings else []
    if len(values) < ENOUGH_FOR_IMPORTANCE or not varied or np.ptp(values) == 0:
        return None
    random = np.random.default_rng(seed)
    found: list[dict[str, float]] = []
    for number in range(_FORESTS):
        drawn = random.integers(len(values), size=min(len(values), _MOST_TRIALS))
        sample = [({name: settings[index][name] for name in varied}, values[index]) for index in drawn]
        share = _fanova(sample, _domains(settings, varied), seed=number)
        if share is not None:
            found.append(share)
    if not found:
        return None
    shares = {name: np.array([one[name] for one in found]) for name in varied}
    estimates = {
        name: Estimate(
            value=float(of.mean()), low=float(np.quantile(of, _ENDS[0])), high=float(np.quantile(of, _ENDS[1]))
        )
        for name, of in shares.items()
    }
    return dict(sorted(estimates.items(), key=lambda item: -item[1].value))


def _ranks(values: Sequence[float]) -> Array:
    """From 1, the mean of their places for equal ones: rank correlations stay what they are, and values may be infinite."""
    from scipy.stats import rankdata  # slow to import

    found: Array = rankdata(np.asarray(values, dtype=float))
    return found


def _spearman(a: Array, b: Array) -> Array:
    """Of each row, shape (rows, trials); nan where one side is constant."""
    from scipy.stats import rankdata  # slow to import

    a, b = (rankdata(side, axis=1) - (side.shape[1] + 1) / 2 for side in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return found


def _kendall(a: Array, b: Array) -> Array:
    """Tau-b of each row, shape (rows, trials); nan where one side is constant."""
    first, second = np.triu_indices(a.shape[1], k=1)
    orders = [np.sign(side[:, first] - side[:, second]) for side in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        untied = [np.abs(order).sum(1) for order in orders]
        found: Array = (orders[0] * orders[1]).sum(1) / np.sqrt(untied[0] * untied[1])
    return found


def _regret(scores: Array, labels: Array, audit: Array, among: int) -> float:
    chosen = np.argsort(-scores, kind="stable")[:among]
    return float(audit[np.argmax(labels)] - audit[chosen[np.argmax(labels[chosen])]])


def _domains(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    # Optuna takes a second to load, and most statistics do without it.
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    domains: dict[str, Any] = {}
    for name in names:
        seen = [row[name] for row in settings]
        if all(isinstance(value, int) and not isinstance(value, bool) for value in seen):
            domains[name] = IntDistribution(min(seen), max(seen))
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in seen):
            domains[name] = FloatDistribution(min(seen), max(seen), log=min(seen) > 0 and max(seen) > 10 * min(seen))
        else:
            domains[name] = CategoricalDistribution(sorted(set(seen), key=str))
    return domains


def _fanova(
    sample: Sequence[tuple[Mapping[str, Any], float]], domains: Mapping[str, Any], *, seed: int
) -> dict[str, float] | None:
    """The importances by one sample; none if it happens to be constant."""
    # Optuna takes a second to load, and most statistics do without it.
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    if len({value for _, value in sample}) < 2:
        return None
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        [optuna.trial.create_trial(params=dict(p), distributions=dict(domains), value=value) for p, value in sample]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
