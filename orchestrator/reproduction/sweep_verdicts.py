"""The verdicts on a sweep of cases: against published numbers, or against its baseline."""

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
"""Row of the attention ablation that is a mean over pairs of networks and not a case of its own."""

WITHOUT = "-without"
"""Ending of the ablation's cases that leave attention out."""

NOT_COMPARABLE = "not comparable"
"""Begins the note of a verdict about students of another teacher."""

NOTICEABLE = 0.01
"""A teacher whose accuracy is this far from what is published for its architecture is another teacher."""


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
    """Hold shortened zero-shot trials against the learning curve of their pair; nothing is published of others."""
    config = sweep.case_config(Assignment(case=case, seed=sweep.seeds[0]))
    if config.method != "zero_shot" or not isinstance(config, ZeroShotConfig):
        return judge_on_curve(values, [], spread=None, case=case)
    curves = learning_curves(
        config.dataset, str(config.teacher), config.student, config.attention_weight, config.horizon
    )
    published = curves.at(config.total_pseudo_batches) or ()
    return judge_on_curve(values, published, spread=_spread(config), case=case)


def _spread(config: ZeroShotConfig) -> Spread | None:
    """How far seeds lie apart at that length, by the one pair of which three seeds are published."""
    known = learning_curves("cifar10", "wrn-16-2", "wrn-16-1", config.attention_weight, 80_000)
    return spread_between_seeds(known, config.total_pseudo_batches)


def _judge_drop(row: PublishedRow, results: CaseResults) -> Judgement:
    drops = _average_drops(results)
    if results.sweep.scale == 1:
        return judge(drops, row)
    # In the first tenth of a run attention is worth up to 24 points, so the published 2 say nothing of a shortened one.
    return _without_published_value(row, drops)


def _without_published_value(row: PublishedRow, values: list[float]) -> Judgement:
    return replace(judge_on_curve(values, [], spread=None, case=row.case), metric=row.metric)


def _average_drops(results: CaseResults) -> list[float]:
    """Accuracy lost without attention, mean over the pairs of networks, one value for each seed that has them all."""
    pairs = [case.removesuffix(WITHOUT) for case in results.sweep.cases if case.endswith(WITHOUT)]
    with_attention = [results.by_seed(pair, "test_accuracy") for pair in pairs]
    without = [results.by_seed(pair + WITHOUT, "test_accuracy") for pair in pairs]
    return [
        statistics.fmean(before[seed] - after[seed] for before, after in zip(with_attention, without, strict=True))
        for seed in results.sweep.seeds
        if all(seed in part for part in (*with_attention, *without))
    ]


def _with_notes(judgement: Judgement, results: CaseResults) -> Judgement:
    """Say so where runs are missing because they came to nothing, or the teacher is not like those that are published."""
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
