"""Statistics of a report: rank correlations, importances, regret, and the best of random orders. Pure and seeded.

Intervals are 95 % percentile bootstrap intervals (trials drawn with replacement), unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENDS = (0.025, 0.975)
_DRAWS = 500
"""Number of bootstrap samples for a rank correlation or regret."""

_FORESTS = 12
"""Number of bootstrap samples for importances, each with a forest of its own."""

_TREES = 16
_MOST_TRIALS = 120
"""Most trials for one forest: more trials cost time, and change the importances less than another forest does."""

ENOUGH_FOR_IMPORTANCE = 8
"""Fewest trials for importances: with fewer, a forest has nothing to split."""

ENOUGH_FOR_RANKS = 5
"""Fewest trials for a rank correlation: with fewer, its interval spans nearly the whole range."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RandomOrder:
    """Best value so far if the n trials came in random order: mean and 95 % range after 1, 2, ... trials, shape (n,)."""

    mean: Array
    low: Array
    high: Array


def rank_correlation(
    scores: Sequence[float], values: Sequence[float], *, by_pairs: bool = False, seed: int = 0
) -> Estimate | None:
    """Return Spearman's rank correlation, in [-1, 1]; None if there are too few trials or one side is constant.

    Args:
        scores: Scores that rank the trials.
        values: Values by which the trials should be ranked.
        by_pairs: Whether to return Kendall's tau-b instead: the share of pairs in equal order minus that in opposite order.
        seed: Seed of the bootstrap.
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
    """Return the audit value lost by choosing a trial by a score instead of by labels; below 0 if the score chose better.

    Among trials with equal values the first is chosen. The interval is rough, since the bootstrap is less reliable for the
    best of a sample than for a mean. A trial that is drawn twice counts once, so that the best few are distinct trials.

    Args:
        scores: Score by which a trial is chosen; larger is better.
        labels: Metric on labelled images by which a trial would be chosen instead; larger is better.
        audit: Metric in which the choices are compared. It is not ``labels``, since the best of many is partly the luckiest.
        among: How many trials the score chooses, among which ``labels`` then chooses one.
        seed: Seed of the bootstrap.
    """
    a, b, c = (np.asarray(side, dtype=float) for side in (scores, labels, audit))
    drawn = np.random.default_rng(seed).integers(len(a), size=(_DRAWS, len(a)))
    low, high = np.quantile([_regret(a[rows], b[rows], c[rows], among) for rows in map(np.unique, drawn)], _ENDS)
    return Estimate(value=_regret(a, b, c, among), low=float(low), high=float(high))


def best_in_random_order(values: Sequence[float], *, maximise: bool) -> RandomOrder:
    """Return mean, 2.5 % and 97.5 % quantile of the best of k trials drawn without replacement, computed exactly."""
    sign = 1 if maximise else -1
    ranked = np.sort(sign * np.asarray(values, dtype=float))
    n = len(ranked)
    below = np.ones(n)
    """Probability that all k drawn trials have at most this rank: C(rank, k) / C(n, k), updated from k - 1."""
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
    """Return the share of the objective's variance that each setting explains, alone and with others (fANOVA).

    Optuna's evaluator grows a forest on each bootstrap sample; the value is the mean over the forests. Each domain is the
    range that the trials span, so that a setting which hardly varied explains little.

    Args:
        settings: Settings of each trial, all with the same keys. Values of a key that are not all numbers are categories.
        values: The objective of each trial.
        seed: Seed of the bootstrap and the forests.

    Returns:
        Estimates by setting, largest first; None if there are too few trials or nothing varies.
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
    """Return the ranks of values, counted from 1, with the mean rank for equal values.

    Ranks leave a rank correlation unchanged, and allow infinite values.
    """
    from scipy.stats import rankdata  # slow to import

    found: Array = rankdata(np.asarray(values, dtype=float))
    return found


def _spearman(a: Array, b: Array) -> Array:
    """Return Spearman's correlation of each row, of shape (rows, trials); NaN where one side is constant."""
    from scipy.stats import rankdata  # slow to import

    a, b = (rankdata(side, axis=1) - (side.shape[1] + 1) / 2 for side in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return found


def _kendall(a: Array, b: Array) -> Array:
    """Return Kendall's tau-b of each row, of shape (rows, trials); NaN where one side is constant."""
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
    # Imported here: Optuna takes a second to load, and most statistics do not need it.
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
    """Return the importances of one bootstrap sample; None if all its values are equal."""
    # Imported here: Optuna takes a second to load, and most statistics do not need it.
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    if len({value for _, value in sample}) < 2:
        return None
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # Optuna logs each new study otherwise
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        [optuna.trial.create_trial(params=dict(p), distributions=dict(domains), value=value) for p, value in sample]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
