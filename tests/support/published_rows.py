"""Rows of published numbers, invented."""

from __future__ import annotations

from orchestrator.reproduction import (
    PublishedRow,
    PublishedRun,
    PublishedValue,
)
from orchestrator.reproduction.published import AcceptanceRange


def row(
    paper: PublishedValue | None,
    *reruns: PublishedRun,
    acceptance: AcceptanceRange | None = None,
    metric: str = "test_accuracy",
) -> PublishedRow:
    fields = {"target": "t", "case": "c", "metric": metric, "paper": paper, "reruns": reruns, "acceptance": acceptance}
    return PublishedRow.model_validate(fields)


def paper(mean: float, std: float | None = None, n: int | None = None) -> PublishedValue:
    return PublishedValue(mean=mean, std=std, n=n, source="paper")


def official(*values: float, caveat: str | None = None) -> PublishedRun:
    return PublishedRun(who="SG", code="official", values=values, source="official", caveat=caveat)


def reimplementation(*values: float, caveat: str | None = None) -> PublishedRun:
    return PublishedRun(who="FE", code="reimplementation", values=values, source="own code", caveat=caveat)
