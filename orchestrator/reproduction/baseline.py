"""Verdicts without published numbers: each case is compared with the baseline of its own sweep, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from orchestrator.analysis.paired import paired_difference
from orchestrator.config import BASELINE
from orchestrator.reproduction.verdict import RUNS_NEEDED, Judgement, Verdict, mean_interval

BASELINE_RULE = (
    f"Baseline rule: better or worse if the 95 % interval of the difference, paired by seed over at least {RUNS_NEEDED} "
    "seeds, excludes 0, else no effect seen. Of 20 cases without an effect one is called better or worse."
)
"""The rule of the comparison with the baseline, as it is printed below tables."""


def compare_with_baseline(accuracies: Mapping[str, Mapping[int, float]]) -> list[Judgement]:
    """Return a judgement of each case against the baseline.

    Differences are paired by seed, see ``paired_difference``. If the interval contains 0, no effect was seen. With three
    seeds this excludes only large effects; the interval shows how large.

    Args:
        accuracies: Test accuracy, as a share, by case and seed; ``BASELINE`` is one of the cases.
    """
    baseline = accuracies.get(BASELINE, {})
    return [_judge(case, values, baseline) for case, values in accuracies.items() if case != BASELINE]


def _judge(case: str, values: Mapping[int, float], baseline: Mapping[int, float]) -> Judgement:
    seeds = sorted(values.keys() & baseline.keys())
    ours, theirs = ([side[seed] for seed in seeds] for side in (values, baseline))
    found = paired_difference(values, baseline)
    missing = RUNS_NEEDED - len(seeds)
    note = f"{missing} more pair{'' if missing == 1 else 's'} of runs needed" if missing > 0 else ""
    mean_low, mean_high = mean_interval(ours)
    verdict = Verdict.NOT_ENOUGH_RUNS
    if missing <= 0:
        verdict = Verdict.BETTER if found.low > 0 else Verdict.WORSE if found.high < 0 else Verdict.NO_EFFECT
    return Judgement(
        case=case,
        metric="test_accuracy",
        n=len(seeds),
        mean=statistics.fmean(ours) if seeds else math.nan,
        std=statistics.pstdev(ours) if len(seeds) > 1 else math.nan,
        mean_low=mean_low,
        mean_high=mean_high,
        paper_mean=statistics.fmean(theirs) if seeds else None,
        paper_std=statistics.pstdev(theirs) if len(seeds) > 1 else None,
        band=None,
        difference=found.mean,
        difference_low=found.low,
        difference_high=found.high,
        verdict=verdict,
        note=note,
        rule=BASELINE_RULE,
    )
