"""The kept runs on digits, the band that follows from them, and how often a verdict by it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.digits_runs import COLUMNS, PRESET, append_row, kept_accuracies, read_rows, settings_checksum
from benchmarks.false_alarms import (
    acceptance_range,
    distribution_of_mean,
    false_alarm_rate,
    mean_outside,
    off_curve_rate,
)
from orchestrator.config.loading import load_sweep
from orchestrator.reproduction import PublishedRow, published_rows


def published() -> PublishedRow:
    (row,) = published_rows(PRESET)
    return row


def test_sums_of_draws_have_the_binomial_distribution() -> None:
    # Two runs that are either all wrong or all right, a quarter of the time right: 9/16, 6/16 and 1/16.
    probabilities = distribution_of_mean([0.0, 0.0, 0.0, 1.0], 2)
    assert [probabilities[total] for total in (0, 1000, 2000)] == pytest.approx([9 / 16, 6 / 16, 1 / 16])
    assert mean_outside([0.0, 0.0, 0.0, 1.0], 2, 0.1, 0.9) == pytest.approx(10 / 16)
    assert acceptance_range([0.0, 0.0, 0.0, 1.0], 2, leaves_out=0.1) == pytest.approx((-0.03, 0.53))


def test_a_draw_off_the_curve_counts_as_often_as_it_comes() -> None:
    healthy = [0.90, 0.91, 0.92, 0.93] * 5
    # One of four lies far below.
    assert off_curve_rate([0.91, 0.92, 0.92, 0.05], 1, healthy) == pytest.approx(1 / 4)


def test_runs_with_other_settings_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    row = dict.fromkeys(COLUMNS, "x") | {"kind": "exact", "test_accuracy": 0.9}
    append_row(path, row | {"settings": settings_checksum("exact"), "seed": 1})
    append_row(path, row | {"settings": "other", "seed": 2})
    assert kept_accuracies("exact", path) == {1: 0.9}
    assert len(read_rows(path)) == 2


def test_no_kept_run_has_a_seed_that_is_judged() -> None:
    kept = kept_accuracies("exact").keys() | kept_accuracies("plain").keys()
    assert kept and not kept & set(load_sweep(PRESET).seeds)


def test_the_plain_loop_gives_the_accuracies_of_the_trials() -> None:
    """Of the kept runs, made on one processor with one thread."""
    plain, exact = kept_accuracies("plain"), kept_accuracies("exact")
    assert plain and plain == {seed: exact[seed] for seed in plain}
    (rerun,) = published().reruns
    assert rerun.values == tuple(plain.values())


def test_the_digits_band_is_made_from_the_kept_runs() -> None:
    """Resampled from the kept runs and with other teachers, a sound loop's verdict is another than reproduced less than
    once in 10,000, and that of one which is eight points worse in more than nine of ten.
    """
    values, runs = list(kept_accuracies("exact").values()), len(load_sweep(PRESET).seeds)
    band = published().band
    assert band == acceptance_range(values, runs)
    assert false_alarm_rate(values, runs, *band) < 1e-4
    assert false_alarm_rate([value - 0.08 for value in values], runs, *band) > 0.9
