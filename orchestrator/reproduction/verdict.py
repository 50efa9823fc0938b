"""Says of a case whether the published result came out again, and by how much not. Pure functions.

Three seeds are few, so every verdict comes with an interval, always of 95 %, two-sided and built on Student's t. All of
them take the runs of a case for independent draws from one normal distribution.

Whole runs (``judge``) are held against the band that the published runs of the method span, because the paper's own
mean +- std of three seeds is narrower than what the same code gives others: of the re-runs of official code, some lie
several of the paper's standard deviations away. The difference from the paper's number is judged beside it with Welch's
interval, which does not suppose that both sides scatter alike, since the code differs. That interval counts with both
sides' sample variances (n - 1), into which published population variances are converted.

Shortened runs (``judge_on_curve``) are held against published runs at the same number of pseudo batches. There the
question is whether ours are draws from the same distribution, equal variances included, so the variance is pooled: with
three seeds a side this leaves 4 degrees of freedom, where Welch's interval can fall to 2 and then hardly finds anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.analysis.paired import CONFIDENCE, t_quantile
from orchestrator.reproduction.published import LearningCurves, Metric, PublishedRow, PublishedValue
from orchestrator.reproduction.units import amount, value_range

RUNS_NEEDED = 3
"""Runs without which a whole case is not judged; the paper's number of seeds."""

BAND_RULE = (
    "Band rule: reproduced if the mean of at least 3 runs lies in the band; better or worse if the mean's 95 % interval "
    "lies wholly beside the band and the difference's interval excludes 0; else not enough runs. The band spans mean ± one "
    "standard deviation of the paper and of each re-run of official code, and the acceptance range where a note names one."
)
"""How ``judge`` decides, as it is printed below tables."""

CURVE_RULE = (
    "Curve rule: off the published curve if the 95 % interval of the difference from the published seeds' mean excludes 0, "
    "else on it. Of 20 sound implementations one is called off."
)
"""How ``judge_on_curve`` decides, likewise."""

# Band ends are sums of decimals such as 0.8244 - 0.0021; a value printed like the end itself lies inside.
_TOLERANCE = 1e-9
# Neighbouring evaluations of a seed scatter alike but not independently: in three published seeds, deviations from their
# mean correlate with the next ones by 0.1 in the first fifth of a run and by 0.7 in its second half. At 0.7, what five
# of them say of the variance is worth two.
_NEIGHBOURS = 2
_INDEPENDENT_EVALUATIONS = 2


class Verdict(StrEnum):
    """What became of a published result."""

    REPRODUCED = "reproduced"
    BETTER = "better"
    WORSE = "worse"
    NOT_ENOUGH_RUNS = "not enough runs"
    NO_PUBLISHED_VALUE = "no published value"
    ON_CURVE = "on the published curve"
    OFF_CURVE = "off the published curve"
    NO_PUBLISHED_CURVE = "no published curve"
    NO_EFFECT = "no effect seen"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A case's numbers beside the published ones. All numbers are in the metric's own unit, accuracies as shares."""

    case: str
    metric: Metric
    n: int
    """Our runs."""

    mean: float
    """Their mean; nan without runs."""

    std: float
    """Their population standard deviation, as the paper's; nan for fewer than two."""

    mean_low: float
    """Lower end of the mean's 95 % interval, Student's t over our runs; nan for fewer than two."""

    mean_high: float
    """Upper end, likewise."""

    paper_mean: float | None
    """The paper's mean; on a curve, that of the published seeds; none: not published."""

    paper_std: float | None
    """Its population standard deviation, likewise; none: not published, or a single run."""

    band: tuple[float, float] | None
    """What the published runs span, or none."""

    difference: float
    """Our mean minus the published one (``PublishedRow.reference``); nan without either."""

    difference_low: float
    """Lower end of the difference's 95 % interval; nan where the runs are too few to tell."""

    difference_high: float
    """Upper end, likewise."""

    verdict: Verdict
    note: str
    """What the verdict rests on, if that is not plain; empty otherwise."""

    rule: str
    """How it was reached, in words."""


def judge(values: Sequence[float], row: PublishedRow) -> Judgement:
    """Judge the whole runs of a case, one value a seed, by what is published about it.

    ``BAND_RULE`` is the rule. The band alone is not enough for *better* and *worse*, since three published runs place its
    ends badly: of sound implementations with a hundred runs, 17 % would lie surely beside the paper's mean ± one standard
    deviation. The difference's interval knows how few the published runs are. Where no band is known, it decides alone:
    it contains 0, or lies beside it. Of transition errors and of accuracy lost, less is better.

    Raises:
        ValueError: a value is not finite.
    """
    _check(values)
    band, reference = row.band, row.reference
    difference, low, high = _welch_interval(values, reference)
    mean_low, mean_high = mean_interval(values)
    differs = _beside(low, high, (0.0, 0.0), row.metric)
    notes = _notes(row)

    missing = RUNS_NEEDED - len(values)
    if reference is None and band is None:
        verdict = Verdict.NO_PUBLISHED_VALUE
    elif missing > 0:
        verdict = Verdict.NOT_ENOUGH_RUNS
        notes.insert(0, _runs_needed(missing))
    elif band is None:
        verdict = differs or Verdict.REPRODUCED
    else:
        mean = statistics.fmean(values)
        outside = max(band[0] - mean, mean - band[1])
        where = f"{amount(outside, row.metric)} {'below' if mean < band[0] else 'above'} the band"
        beside = _beside(mean_low, mean_high, band, row.metric)
        if outside <= _TOLERANCE:
            verdict = Verdict.REPRODUCED
        elif beside is None:
            verdict = Verdict.NOT_ENOUGH_RUNS
            notes.insert(0, f"{where}, but the mean's interval reaches it")
        elif reference is not None and differs is None:
            verdict = Verdict.NOT_ENOUGH_RUNS
            notes.insert(0, f"{where}, but the published runs are too few to tell: the difference's interval holds 0")
        else:
            verdict = beside
            notes.insert(0, where)
    return Judgement(
        case=row.case,
        metric=row.metric,
        n=len(values),
        mean=_mean(values),
        std=_population_std(values),
        mean_low=mean_low,
        mean_high=mean_high,
        paper_mean=row.paper.mean if row.paper else None,
        paper_std=row.paper.std if row.paper else None,
        band=band,
        difference=difference,
        difference_low=low,
        difference_high=high,
        verdict=verdict,
        note="; ".join(notes),
        rule=BAND_RULE,
    )


def _notes(row: PublishedRow) -> list[str]:
    """Return notes on unusual published numbers of a case."""
    notes = []
    if row.paper is None and row.reference is not None:
        notes.append(f"the paper gives no number, difference from {row.reference.source}")
    if row.band_rests_on_reimplementations:
        notes.append(f"band rests on re-implementations ({', '.join(_rerunners(row))})")
    if row.acceptance is not None:
        ends = value_range(row.acceptance.low, row.acceptance.high, row.metric)
        notes.append(f"acceptance range {ends}: {row.acceptance.source}")
    if row.band is None and row.reference is not None:
        notes.append("a single number is published, no band")
    return notes


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far runs that differ in their seed alone lie apart at one point of a learning curve."""

    std: float
    """Sample standard deviation (n - 1) of a single run's test accuracy, a share."""

    degrees_of_freedom: int
    """What the estimate is worth, at least 1."""


def spread_between_seeds(curves: LearningCurves, pseudo_batches: float) -> Spread | None:
    """Spread of the seeds' test accuracies around one point of their curve; none outside it or with a single seed.

    Evaluations in mid-run scatter by points: between three published seeds, the standard deviation lies anywhere from 0.3
    to 5.4 points within the first tenth of the run and jumps sevenfold from one evaluation to the next, so that a single
    one says little. Pooled are the variances of the evaluation nearest to the point and of two on either side.
    """
    if len(curves.seeds) < 2 or curves.at(pseudo_batches) is None:
        return None
    points = curves.pseudo_batches
    nearest = min(range(len(points)), key=lambda index: abs(points[index] - pseudo_batches))
    window = range(max(0, nearest - _NEIGHBOURS), min(len(points), nearest + _NEIGHBOURS + 1))
    runs = curves.values["test_accuracy"]
    variance = statistics.fmean(statistics.variance([run[index] for run in runs]) for index in window)
    independent = min(len(window), _INDEPENDENT_EVALUATIONS)
    return Spread(std=math.sqrt(variance), degrees_of_freedom=independent * (len(runs) - 1))


def judge_on_curve(
    values: Sequence[float],
    published_seeds_at_n: Sequence[float],
    *,
    spread: Spread | None,
    case: str = "",
    confidence: float = CONFIDENCE,
) -> Judgement:
    """Judge runs stopped early: whether they could be further seeds of the published learning curve.

    The curve is left if the 95 % interval of the difference of means excludes 0. Its variance is that of a single run,
    and comes from whatever is known best:

    - two runs or more on both sides: the pooled variance of both, and ``spread`` is not needed;
    - otherwise ``spread``: the lone run is judged by a prediction interval. Published seeds can lie together by chance (at
      56,000 pseudo batches within 0.03 points), which would put any lone run off the curve, so ``spread`` goes before them;
    - without ``spread``, the side that has two runs or more.

    Args:
        values: Our test accuracies, one a seed, shares.
        published_seeds_at_n: Published ones at the same number of pseudo batches; empty if there are none.
        spread: Spread between seeds of a curve that is known for several, at the same number of pseudo batches; none: not
            known. Another pair's, or data set's, is a stand-in: the note says that it was used.
        case: Name for the table.
        confidence: Of the interval; a check that is repeated daily may call a sound loop off more rarely than once in 20.

    Raises:
        ValueError: a value is not finite.
    """
    _check([*values, *published_seeds_at_n])
    n, published_n = len(values), len(published_seeds_at_n)
    difference = _mean(values) - _mean(published_seeds_at_n)
    low = high = math.nan
    mean_low, mean_high = mean_interval(values)
    variance = _variance_of_a_run(values, published_seeds_at_n, spread)
    if not published_n:
        verdict, note = Verdict.NO_PUBLISHED_CURVE, ""
    elif not n:
        verdict, note = Verdict.NOT_ENOUGH_RUNS, _runs_needed(1)
    elif variance is None:
        verdict, note = Verdict.NOT_ENOUGH_RUNS, f"{_runs_needed(1)}: the spread between seeds is not known"
    else:
        half = t_quantile(variance.degrees_of_freedom, confidence)
        half *= math.sqrt(variance.value * (1 / n + 1 / published_n))
        low, high = difference - half, difference + half
        if low <= _TOLERANCE and high >= -_TOLERANCE:
            verdict, note = Verdict.ON_CURVE, variance.source
        else:
            side = "below" if difference < 0 else "above"
            verdict, note = Verdict.OFF_CURVE, f"{amount(abs(difference), 'test_accuracy')} {side}; {variance.source}"
    return Judgement(
        case=case,
        metric="test_accuracy",
        n=n,
        mean=_mean(values),
        std=_population_std(values),
        mean_low=mean_low,
        mean_high=mean_high,
        paper_mean=_mean(published_seeds_at_n) if published_n else None,
        paper_std=_population_std(published_seeds_at_n) if published_n > 1 else None,
        band=(min(published_seeds_at_n), max(published_seeds_at_n)) if published_n > 1 else None,
        difference=difference,
        difference_low=low,
        difference_high=high,
        verdict=verdict,
        note=note,
        rule=CURVE_RULE,
    )


def _check(values: Sequence[float]) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"values={list(values)}: allowed are finite numbers")


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _population_std(values: Sequence[float]) -> float:
    return statistics.pstdev(values) if len(values) > 1 else math.nan


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the mean's interval by Student's t; nan for fewer than two runs."""
    if len(values) < 2:
        return math.nan, math.nan
    half = t_quantile(len(values) - 1) * math.sqrt(statistics.variance(values) / len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def _welch_interval(values: Sequence[float], reference: PublishedValue | None) -> tuple[float, float, float]:
    """Return the difference of means and the ends of its interval; nan for what cannot be said.

    A published number without standard deviation is taken for runs that scatter as ours do, and for a single one if their
    number is not published: it is a draw as ours are, and no exact value.
    """
    if reference is None or not values:
        return math.nan, math.nan, math.nan
    difference = statistics.fmean(values) - reference.mean
    if len(values) < 2:
        return difference, math.nan, math.nan
    ours = statistics.variance(values) / len(values)
    if reference.std is None or reference.n is None:
        half = t_quantile(len(values) - 1) * math.sqrt(ours + statistics.variance(values) / (reference.n or 1))
        return difference, difference - half, difference + half
    # A population variance times n / (n - 1) is the sample variance; its n-th part is that of the mean.
    their_degrees = reference.n - 1
    theirs = reference.std**2 / their_degrees
    if ours + theirs == 0:
        return difference, difference, difference
    share = ours / (ours + theirs)
    # Welch and Satterthwaite, in shares of the variance so that tiny variances do not underflow when squared.
    degrees = 1 / (share**2 / (len(values) - 1) + (1 - share) ** 2 / their_degrees)
    half = t_quantile(degrees) * math.sqrt(ours + theirs)
    return difference, difference - half, difference + half


@dataclass(frozen=True, kw_only=True)
class _Variance:
    """Variance of a single run's result, what it is worth, and where it comes from in words."""

    value: float
    degrees_of_freedom: int
    source: str


def _variance_of_a_run(values: Sequence[float], published: Sequence[float], spread: Spread | None) -> _Variance | None:
    samples = [sample for sample in (values, published) if len(sample) > 1]
    if spread is not None and len(samples) < 2:
        source = f"prediction interval from the spread of other published seeds, {100 * spread.std:.2f} points"
        return _Variance(value=spread.std**2, degrees_of_freedom=spread.degrees_of_freedom, source=source)
    if not samples:
        return None
    degrees = sum(len(sample) - 1 for sample in samples)
    squares = sum((len(sample) - 1) * statistics.variance(sample) for sample in samples)
    whose = "the pooled" if len(samples) == 2 else "our own" if samples[0] is values else "the published"
    source = f"interval from {whose} variance, {degrees} degrees of freedom"
    return _Variance(value=squares / degrees, degrees_of_freedom=degrees, source=source)


def _beside(low: float, high: float, band: tuple[float, float], metric: Metric) -> Verdict | None:
    """Better or worse if the interval lies wholly beside the band, else none."""
    if low - band[1] > _TOLERANCE:
        return Verdict.BETTER if metric == "test_accuracy" else Verdict.WORSE
    if band[0] - high > _TOLERANCE:
        return Verdict.WORSE if metric == "test_accuracy" else Verdict.BETTER
    return None


def _rerunners(row: PublishedRow) -> list[str]:
    return [who for who in row.band_sources if who != "paper"]


def _runs_needed(missing: int) -> str:
    return f"{missing} more run{'' if missing == 1 else 's'} needed"
