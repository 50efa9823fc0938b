"""Metrics that a function finds, named in the table of metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.supervised import make_trainer
from trainables.metrics import METRICS
from trainables.training import reports


def updates_twice(training: reports.Measured) -> int:
    return 2 * training.done


def test_a_function_that_a_metric_names_is_asked_at_each_report(monkeypatch: pytest.MonkeyPatch) -> None:
    base = next(metric for metric in METRICS if metric.name == "student_updates")
    ours = replace(base, name="doubled", measured_by=f"{__name__}:updates_twice")
    other = replace(base, name="elsewhere", methods=("zero_shot",), measured_by=f"{__name__}:updates_twice")
    monkeypatch.setattr(reports, "METRICS", (*METRICS, ours, other))
    training = make_trainer(full_data_epochs=2, iteration_scale=1, evaluation_interval=1)
    for epoch in (1, 2):
        report = training.advance()
        assert (report["doubled"], report["epochs"]) == (2 * epoch, epoch)
        assert "elsewhere" not in report


def test_a_metric_of_a_file_is_measured_and_one_that_fails_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def epochs(training):\n    return training.done\n\ndef broken(training):\n    return 1 / 0\n")
    training = make_trainer(full_data_epochs=2, iteration_scale=1, evaluation_interval=1, metrics=f"{file}:epochs")
    assert [training.advance()[f"{file}:epochs"] for _ in (1, 2)] == [1.0, 2.0]
    broken = make_trainer(full_data_epochs=2, iteration_scale=1, evaluation_interval=1, metrics=f"{file}:broken")
    with pytest.raises(ValueError, match=r"metric .*mine\.py:broken fails: ZeroDivisionError: division by zero"):
        broken.advance()
