"""Metrics that a function finds, named in the table of metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.trainables.test_supervised import make_trainer
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
