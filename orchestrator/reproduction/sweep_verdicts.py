"""Verdicts on a sweep of cases: against published numbers, or against the sweep's baseline."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

from orchestrator.analysis.cases import CaseResults, read_cases
from orchestrator.config import BASELINE, Assignment, SweepConfig
from orchestrator.errors import ConfigError
from orchestrator.reproduction import (
    Judgement,
    PublishedRow,
    Spread,
    judge,
    judge_on_curve,
    learning_curves,
    published_rows,
    published_targets,
    spread_between_seeds,
)
from orchestrator.reproduction.baseline import compare_with_baseline
from orchestrator.results import SweepSource, TrialRecord
from trainables.config import ZeroShotConfig

AVERAGE_DROP = "average-drop"
"""Published row of the attention ablation that is a mean over pairs of networks, and has no case in the sweep."""

WITHOUT = "-without"
"""Suffix of the ablation's cases without attention transfer."""

NOT_COMPARABLE = "not comparable"
"""Beginning of the note on a verdict whose teacher differs from the published ones."""

NOTICEABLE = 0.01
"""Tolerance of a teacher's accuracy, as a share: a teacher farther outside the published band is not comparable."""


def check_target(sweep: SweepConfig) -> None:
    """Refuse a sweep that has nothing to judge.

    Raises:
        ConfigError: the sweep has no cases, or neither published numbers nor a baseline.
    """
    if not sweep.cases:
        raise ConfigError(
            f"{sweep.name} is a search and has no cases to judge: run it with python run_sweep.py {sweep.name}"
        )
    if sweep.name not in published_targets() and BASELINE not in sweep.cases:
        raise ConfigError(
            f"{sweep.name}: neither published numbers nor a case named {BASELINE} to compare with; targets with published "
            f"numbers: {', '.join(published_targets())}"
        )


def judge_sweep(source: SweepSource, sweep: SweepConfig) -> list[Judgement]:
    """Return the verdict on each published row of a target, or on each case against the baseline."""
    results = read_cases(source, sweep)
    if sweep.name not in published_targets():
        accuracies = {case: results.by_seed(case, "test_accuracy") for case in _wanted(sweep)}
        return [_with_notes(judgement, results) for judgement in compare_with_baseline(accuracies)]
    rows = [row for row in published_rows(sweep.name) if row.case in _wanted(sweep) or row.case == AVERAGE_DROP]
    return [_judge_row(row, results) for row in rows]


def _wanted(sweep: SweepConfig) -> list[str]:
    return sweep.only or list(sweep.cases)


def _judge_row(row: PublishedRow, results: CaseResults) -> Judgement:
    if row.case == AVERAGE_DROP:
        return _judge_drop(row, results)
    values = results.values(row.case, row.metric)
    if results.sweep.scale == 1:
        judgement = judge(values, row)
    elif row.metric == "test_accuracy":
        judgement = _judge_shortened(values, row.case, results.sweep)
    else:
        judgement = _without_published_value(row, values)
    return _with_notes(judgement, results)


def _judge_shortened(values: list[float], case: str, sweep: SweepConfig) -> Judgement:
    """Compare shortened zero-shot trials with the learning curve of their pair; no curves of other methods are published."""
    config = sweep.case_config(Assignment(case=case, seed=sweep.seeds[0]))
    if config.method != "zero_shot" or not isinstance(config, ZeroShotConfig):
        return judge_on_curve(values, [], spread=None, case=case)
    curves = learning_curves(
        config.dataset, str(config.teacher), config.student, config.attention_weight, config.horizon
    )
    published = curves.at(config.total_pseudo_batches) or ()
    return judge_on_curve(values, published, spread=_spread(config), case=case)


def _spread(config: ZeroShotConfig) -> Spread | None:
    """Return the spread between seeds at a trial's length, from the one pair with three published seeds."""
    known = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", config.attention_weight, 80_000)
    return spread_between_seeds(known, config.total_pseudo_batches)


def _judge_drop(row: PublishedRow, results: CaseResults) -> Judgement:
    drops = _average_drops(results)
    if results.sweep.scale == 1:
        return judge(drops, row)
    # In the first tenth of a run attention gains up to 24 points, so the published gain of 2 does not apply to short runs.
    return _without_published_value(row, drops)


def _without_published_value(row: PublishedRow, values: list[float]) -> Judgement:
    return replace(judge_on_curve(values, [], spread=None, case=row.case), metric=row.metric)


def _average_drops(results: CaseResults) -> list[float]:
    """Return the accuracy lost without attention transfer, averaged over the pairs of networks.

    There is one value for each seed for which all pairs have results.
    """
    pairs = [case.removesuffix(WITHOUT) for case in results.sweep.cases if case.endswith(WITHOUT)]
    with_attention = [results.by_seed(pair, "test_accuracy") for pair in pairs]
    without = [results.by_seed(pair + WITHOUT, "test_accuracy") for pair in pairs]
    return [
        statistics.fmean(before[seed] - after[seed] for before, after in zip(with_attention, without, strict=True))
        for seed in results.sweep.seeds
        if all(seed in part for part in (*with_attention, *without))
    ]


def _with_notes(judgement: Judgement, results: CaseResults) -> Judgement:
    """Add notes to a judgement on unsuccessful runs, and on a teacher that differs from the published ones."""
    notes = [results.unsuccessful(judgement.case), judgement.note]
    notes += dict.fromkeys(
        _teacher_note(row) for assignment, row in results.rows.items() if assignment.case == judgement.case
    )
    return replace(judgement, note="; ".join(note for note in notes if note))


def _teacher_note(row: TrialRecord) -> str:
    name, accuracy, dataset = row.settings["teacher"], row.teacher_test_accuracy, row.settings["dataset"]
    if accuracy is None:
        return ""
    case = f"svhn-{name}" if dataset == "svhn" else name
    published = [known for known in published_rows("paper-scratch") if known.case == case]
    band = published[0].band if published and dataset in {"cifar10", "svhn"} else None
    if band is None or band[0] - NOTICEABLE <= accuracy <= band[1] + NOTICEABLE or math.isnan(accuracy):
        return ""
    return f"{NOT_COMPARABLE}: its teacher has {accuracy:.2%}, published ones have {band[0]:.2%} to {band[1]:.2%}"
