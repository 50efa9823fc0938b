"""The benchmark of the loop on networks that take milliseconds: what its table says of the weights is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.speed import training_loop
from tests.support.tiny import tiny_settings
from trainables.config import ZeroShotConfig


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_config(pair: str, **changes: Any) -> ZeroShotConfig:
        return ZeroShotConfig.model_validate(tiny_settings(compilation="never") | changes)

    monkeypatch.setattr(training_loop, "make_config", make_config)
    monkeypatch.setattr(training_loop, "convolution_peak", lambda dtype: 1e9)


def column() -> dict[str, str]:
    lines = training_loop.table("any:pair", 1, 1, with_compiled=False)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:]]
    return {row[0]: row[-1] for row in rows}


def test_the_column_of_weights_tells_equal_bits_from_rounding_and_from_another_computation() -> None:
    found = column()
    assert found["published loop"] == ""
    assert found["exact"] == "equal bits"
    fast, half = float(found["+ teacher's BatchNorm folded: fast"]), float(found["fast, bfloat16"])
    assert 0 < fast < 1e-3 < half


def test_the_column_of_weights_tells_of_a_loop_that_is_not_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    make = training_loop.make_distiller
    monkeypatch.setattr(training_loop, "make_distiller", lambda pair, **changes: make(pair, **changes, student_lr=4e-3))
    assert float(column()["exact"]) > 0.1


def test_a_distance_is_a_share_of_the_way() -> None:
    start, theirs = [torch.zeros(2), torch.zeros(1)], [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    assert training_loop.distance(theirs, theirs, start) == "equal bits"
    assert training_loop.distance([torch.tensor([3.0, 0.0]), torch.tensor([4.5])], theirs, start) == "1.0e-01"
    assert training_loop.distance(start, theirs, start) == "1.0e+00"
