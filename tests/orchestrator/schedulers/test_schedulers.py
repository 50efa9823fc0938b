from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.early_stopping import read_curves, replay
from orchestrator.config.loading import load_sweep
from orchestrator.schedulers.asha import Asha, AshaRule, rung_budgets
from orchestrator.schedulers.base import Decision, PastReport
from orchestrator.schedulers.median import Median, MedianRule
from orchestrator.schedulers.none import NoEarlyStopping

GO, STOP = Decision.CONTINUE, Decision.STOP


def asha(past: list[PastReport] | None = None, *, mode: str = "max", total: int = 90, smoothing: int = 1) -> AshaRule:
    config = Asha(grace=1 / 9, reduction_factor=3, smoothing=smoothing)
    return config.build(mode=mode, budget=total, past_reports=past or [])


@pytest.mark.parametrize(
    ("grace", "factor", "total", "rungs"),
    [
        (0.25, 3, 120, [30, 90]),
        (0.25, 2, 100, [25, 50]),
        (0.1, 3, 100, [10, 30, 90]),
        (1.0, 3, 100, []),
        (0.01, 4, 10, [1, 4]),
    ],
)
def test_rungs_are_shares_of_the_budget(grace: float, factor: int, total: int, rungs: list[int]) -> None:
    assert rung_budgets(grace=grace, reduction_factor=factor, budget=total) == rungs


def test_a_story() -> None:
    scheduler = asha()
    assert scheduler.rungs == [10, 30]
    # Before the first rung nobody is stopped, and the first there goes on.
    assert scheduler.on_report("a", 5, 0.1) == GO
    assert scheduler.on_report("a", 10, 0.5) == GO
    # Worse than the best third: stopped. Better: goes on.
    assert scheduler.on_report("b", 10, 0.4) == STOP
    assert scheduler.on_report("c", 10, 0.6) == GO
    # Between rungs nobody is judged.
    assert scheduler.on_report("c", 20, 0.0) == GO
    # The next rung has its own field.
    assert scheduler.on_report("c", 30, 0.1) == GO
    assert scheduler.on_report("a", 30, 0.05) == STOP


def test_a_report_that_skips_past_a_rung_counts_there() -> None:
    scheduler = asha()
    assert scheduler.on_report("a", 17, 0.5) == GO
    assert scheduler.on_report("b", 13, 0.4) == STOP


def test_smaller_can_be_better() -> None:
    scheduler = asha(mode="min")
    assert scheduler.on_report("a", 10, 0.5) == GO
    assert scheduler.on_report("b", 10, 0.6) == STOP
    assert scheduler.on_report("c", 10, 0.4) == GO


def test_a_restart_changes_no_decision() -> None:
    reports = [("a", 10, 0.5), ("a", 20, 0.9), ("b", 10, 0.6), ("b", 30, 0.7), ("c", 10, 0.2)]
    undisturbed = asha()
    for report in reports:
        undisturbed.on_report(*report)
    restarted = asha(list(reversed(reports)))
    for trial, done, value in (("d", 10, 0.55), ("e", 10, 0.65), ("d", 30, 0.6), ("a", 30, 0.8)):
        assert restarted.on_report(trial, done, value) == undisturbed.on_report(trial, done, value)


def test_the_last_report_repeated_after_a_recovery_is_judged_again_and_counted_once() -> None:
    scheduler = asha()
    assert scheduler.on_report("a", 10, 0.5) == GO
    assert scheduler.on_report("a", 10, 0.5) == GO
    for name, value in (("b", 0.6), ("c", 0.7), ("d", 0.8)):
        scheduler.on_report(name, 10, value)
    assert scheduler.on_report("a", 10, 0.5) == STOP


def test_what_a_trial_had_passed_before_a_recovery_it_has_passed() -> None:
    past = [("a", 10, 0.5), ("a", 20, 0.55)]
    scheduler = asha(past)
    for name, value in (("b", 0.6), ("c", 0.7), ("d", 0.8)):
        scheduler.on_report(name, 10, value)
    assert scheduler.on_report("a", 10, 0.5) == GO
    assert scheduler.on_report("a", 20, 0.55) == GO
    assert scheduler.on_report("e", 10, 0.5) == STOP


def test_a_later_report_with_the_same_value_is_not_taken_for_the_first() -> None:
    scheduler = asha()
    scheduler.on_report("a", 10, 0.5)
    for name, value in (("b", 0.6), ("c", 0.7), ("d", 0.8)):
        scheduler.on_report(name, 10, value)
    assert scheduler.on_report("a", 12, 0.5) == GO


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_report_without_a_number_is_compared_with_nothing(value: float | None) -> None:
    for rule in (asha(), median(OTHERS)):
        undisturbed = {name: dict(reports) for name, reports in rule._values.items()}
        assert rule.on_report("broken", 40, value) == GO
        assert {name: reports for name, reports in rule._values.items() if reports} == undisturbed
        assert rule.on_report("good", 40, 0.9) == GO
        assert rule.on_report("bad", 40, 0.1) == STOP


def test_one_lucky_report_does_not_save_a_trial() -> None:
    for smoothing, verdict in ((1, GO), (3, STOP)):
        scheduler = asha(smoothing=smoothing)
        for done in (6, 8, 10):
            scheduler.on_report("steady", done, 0.5)
            scheduler.on_report("steadier", done, 0.52)
        for done in (6, 8):
            scheduler.on_report("lucky", done, 0.3)
        assert scheduler.on_report("lucky", 10, 0.6) == verdict


def test_the_mean_is_over_the_last_reports_and_the_same_after_a_restart() -> None:
    reports = [("a", 2, 0.9), ("a", 6, 0.1), ("a", 8, 0.1), ("a", 10, 0.1), ("b", 8, 0.2), ("b", 10, 0.2)]
    undisturbed = asha(smoothing=3)
    for report in reports:
        undisturbed.on_report(*report)
    place, mean = undisturbed._entries[10]["a"]
    assert (place, round(mean, 12)) == (10, 0.1)
    restarted = asha(reports, smoothing=3)
    assert restarted._entries == undisturbed._entries
    # A report that is made again after a recovery is not counted twice.
    restarted.on_report("b", 10, 0.2)
    assert restarted._entries == undisturbed._entries


def median(past: list[PastReport] | None = None, *, minimum_trials: int = 3) -> MedianRule:
    return Median(grace=0.2, minimum_trials=minimum_trials).build(mode="max", budget=100, past_reports=past or [])


OTHERS: list[PastReport] = [
    (name, done, value * done / 100) for name, value in (("a", 0.5), ("b", 0.6), ("c", 0.7)) for done in (20, 40, 60)
]


def test_below_the_median_of_the_others_averages_a_trial_ends() -> None:
    scheduler = median(OTHERS)
    # Averages up to 40 are 0.15, 0.18 and 0.21.
    assert scheduler.on_report("bad", 40, 0.17) == STOP
    assert scheduler.on_report("good", 40, 0.19) == GO
    # Its best counts, not its last.
    scheduler.on_report("fallen", 30, 0.3)
    assert scheduler.on_report("fallen", 40, 0.1) == GO


def test_nobody_ends_before_the_grace_at_the_end_or_among_too_few() -> None:
    assert median(OTHERS).on_report("bad", 19, 0.0) == GO
    assert median(OTHERS).on_report("bad", 100, 0.0) == GO
    assert median(OTHERS, minimum_trials=4).on_report("bad", 40, 0.0) == GO
    assert median(OTHERS[:-2]).on_report("bad", 60, 0.0) == GO  # only two have come as far


def test_without_a_scheduler_nothing_is_stopped() -> None:
    assert NoEarlyStopping().build(mode="max", budget=10) is None


def test_of_the_quick_starts_twelve_trials_several_run_to_the_end() -> None:
    """The kept learning curves of digits, replayed: 5.5 of 12 trials run to the end on average, fewer than three in one of
    25 sweeps. The draws have a fixed seed, so this test has no false alarm.
    """
    scheduler = load_sweep("quickstart").scheduler
    assert load_sweep("quickstart-zero-shot").scheduler == scheduler
    curves, draw = read_curves(), np.random.default_rng(0)
    completed = [replay(curves, scheduler, draw).completed for _ in range(50)]
    assert 4 < np.mean(completed) < 7
    assert sum(count < 3 for count in completed) <= 5
