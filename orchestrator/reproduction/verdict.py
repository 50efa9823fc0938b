"""Verdicts: whether a case reproduces the published result, and by how much it differs. All functions are pure.

Three seeds are few, so every verdict has an interval: 95 %, two-sided, from Student's t. All intervals assume that the runs
of a case are independent draws from one normal distribution.

Whole runs (``judge``) are compared with the band that the published runs of the method span. The paper's own mean ± std
over three seeds would be too narrow: some re-runs of official code lie several of the paper's standard deviations away. The
difference from the paper's number is judged as well, with Welch's interval, which does not assume equal variances, since
the code differs. This interval uses the sample variances (n - 1) of both sides; published population variances are
converted.

Shortened runs (``judge_on_curve``) are compared with published runs at the same number of pseudo batches. The question here
is whether ours are draws from the same distribution, equal variances included, so the variance is pooled. With three seeds
on each side this leaves 4 degrees of freedom, where Welch's interval can have as few as 2 and then detects hardly anything.
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
"""Minimum number of whole runs for a verdict on a case; equal to the paper's number of seeds."""

BAND_RULE = (
    "Band rule: reproduced if the mean of at least 3 runs lies in the band; better or worse if the mean's 95 % interval "
    "lies wholly beside the band and the difference's interval excludes 0; else not enough runs. The band spans mean ± one "
    "standard deviation of the paper and of each re-run of official code, and the acceptance range where a note names one."
)
"""The rule of ``judge``, as it is printed below tables."""

CURVE_RULE = (
    "Curve rule: off the published curve if the 95 % interval of the difference from the published seeds' mean excludes 0, "
    "else on it. Of 20 sound implementations one is called off."
)
"""The rule of ``judge_on_curve``, as it is printed below tables."""

# The ends of a band are sums of decimals such as 0.8244 - 0.0021. A value that prints like the end lies inside the band.
_TOLERANCE = 1e-9
# Neighbouring evaluations of a seed have similar spread, but are not independent: in three published seeds, deviations from
# their mean correlate with the next ones by 0.1 in the first fifth of a run and by 0.7 in its second half. At 0.7, an
# estimate of the variance from five evaluations is worth one from two independent ones.
_NEIGHBOURS = 2
_INDEPENDENT_EVALUATIONS = 2


class Verdict(StrEnum):
    """Outcome of comparing a case with a published result or the baseline."""

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
    """A case's numbers, the numbers they are compared with, and the verdict. Accuracies are shares."""

    case: str
    metric: Metric
    n: int
    """Number of our runs."""

    mean: float
    """Mean of our runs; nan without runs."""

    std: float
    """Population standard deviation of our runs, as in the paper; nan for fewer than two runs."""

    mean_low: float
    """Lower end of the 95 % interval of our mean, by Student's t; nan for fewer than two runs."""

    mean_high: float
    """Upper end of the 95 % interval of our mean, by Student's t; nan for fewer than two runs."""

    paper_mean: float | None
    """The paper's mean, or the mean of the published seeds of a curve, or of the baseline. None if there is none."""

    paper_std: float | None
    """Population standard deviation that belongs to ``paper_mean``. None if it is not known, or for a single run."""

    band: tuple[float, float] | None
    """Lowest and highest value of the published runs. None if no band is known."""

    difference: float
    """Our mean minus the number that it is compared with (``PublishedRow.reference``); nan if either is missing."""

    difference_low: float
    """Lower end of the difference's 95 % interval; nan if there are too few runs."""

    difference_high: float
    """Upper end of the difference's 95 % interval; nan if there are too few runs."""

    verdict: Verdict
    note: str
    """Explanation of the verdict, if one is needed; else empty."""

    rule: str
    """The rule of the verdict, in words."""


def judge(values: Sequence[float], row: PublishedRow) -> Judgement:
    """Judge the whole runs of a case, one value for each seed, by the published results, according to ``BAND_RULE``.

    The band alone is not enough for *better* and *worse*, since its ends are uncertain with three published runs: of sound
    implementations with a hundred runs, 17 % would lie wholly outside the paper's mean ± one standard deviation. The
    difference's interval takes the number of published runs into account. Without a band, this interval decides alone,
    by whether it contains 0. Smaller is better for transition errors and accuracy drops.

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
            notes.insert(
                0, f"{where}, but the published runs are too few to tell: the difference's interval contains 0"
            )
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
    """Return notes on what is unusual about the published numbers of a case."""
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
    """Spread of runs that differ only in their seed, at one point of a learning curve."""

    std: float
    """Sample standard deviation (n - 1) of a single run's test accuracy, a share."""

    degrees_of_freedom: int
    """Degrees of freedom of the estimate, at least 1."""


def spread_between_seeds(curves: LearningCurves, pseudo_batches: float) -> Spread | None:
    """Return the spread of the seeds' test accuracies around one point of their learning curve.

    In mid-run, accuracies vary by several points: between three published seeds, the standard deviation ranges from 0.3 to
    5.4 points within the first tenth of the run and changes up to sevenfold from one evaluation to the next. A single
    evaluation therefore says little. The variances of the evaluation nearest to the point and of two on each side are
    pooled.

    Returns:
        The spread. None if the point lies outside the curve, or the curve has a single seed.
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
    """Judge shortened runs: whether they could be further seeds of the published learning curve.

    Runs are off the curve if the 95 % interval of the difference of means excludes 0. The variance of a single run comes
    from the best available source:

    - with two or more runs on both sides, the pooled variance of both; ``spread`` is not used;
    - otherwise from ``spread``, which makes the interval a prediction interval. ``spread`` is preferred to the published
      seeds, since these can agree by chance (within 0.03 points at 56,000 pseudo batches), which would put any single run
      off the curve;
    - without ``spread``, the variance of the side that has two or more runs.

    Args:
        values: Our test accuracies as shares, one for each seed.
        published_seeds_at_n: Published test accuracies at the same number of pseudo batches; empty if none are published.
        spread: Spread between seeds of a curve with several published seeds, at the same number of pseudo batches. It may
            belong to another pair of networks or data set; the note then says that it was used. None if it is not known.
        case: Name of the case for the table.
        confidence: Confidence of the interval. A check that runs daily may use more than 95 %, to reject a sound
            implementation less often than once in 20 times.

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
    """Return the ends of the mean's 95 % interval by Student's t; nan for fewer than two runs."""
    if len(values) < 2:
        return math.nan, math.nan
    half = t_quantile(len(values) - 1) * math.sqrt(statistics.variance(values) / len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def _welch_interval(values: Sequence[float], reference: PublishedValue | None) -> tuple[float, float, float]:
    """Return the difference of means and the ends of its interval; nan for values that cannot be computed.

    A published number is a random draw, not an exact value. Without a published standard deviation or number of runs, the
    variance of our runs is used for the published ones, and one run is assumed if their number is not published.
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
    # The sample variance is the population variance times n / (n - 1); divided by n, it is the variance of the mean.
    their_degrees = reference.n - 1
    theirs = reference.std**2 / their_degrees
    if ours + theirs == 0:
        return difference, difference, difference
    share = ours / (ours + theirs)
    # The Welch-Satterthwaite equation, in shares of the variance, so that tiny variances do not underflow when squared.
    degrees = 1 / (share**2 / (len(values) - 1) + (1 - share) ** 2 / their_degrees)
    half = t_quantile(degrees) * math.sqrt(ours + theirs)
    return difference, difference - half, difference + half


@dataclass(frozen=True, kw_only=True)
class _Variance:
    """Variance of a single run's result, with its degrees of freedom and its source in words."""

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
    """Return better or worse if the interval lies wholly outside the band, else None."""
    if low - band[1] > _TOLERANCE:
        return Verdict.BETTER if metric == "test_accuracy" else Verdict.WORSE
    if band[0] - high > _TOLERANCE:
        return Verdict.WORSE if metric == "test_accuracy" else Verdict.BETTER
    return None


def _rerunners(row: PublishedRow) -> list[str]:
    return [who for who in row.band_sources if who != "paper"]


def _runs_needed(missing: int) -> str:
    return f"{missing} more run{'' if missing == 1 else 's'} needed"
