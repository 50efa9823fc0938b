"""The GPU's benchmark where there is no GPU: all but its numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from benchmarks.speed import gpu, training_loop
from tests.support.missing import NEEDS_NO_GPU
from tests.support.tape import Tape
from tests.support.tiny import tiny_settings
from trainables.compute import cuda_graphs as graphs
from trainables.config import ZeroShotConfig
from trainables.training import distiller


@pytest.fixture(autouse=True)
def small_and_recorded(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    tapes: list[Tape] = []

    def make_config(pair: str, **changes: Any) -> ZeroShotConfig:
        return ZeroShotConfig.model_validate(tiny_settings(compilation="never") | changes)

    def record(work: Any) -> Any:
        tapes.append(Tape.of(work))
        return tapes[-1].replay

    monkeypatch.setattr(training_loop, "make_config", make_config)
    monkeypatch.setattr(distiller, "is_asynchronous", lambda device: True)
    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "warm_up", lambda work: work())
    return tapes


def test_a_replayed_loop_is_held_against_the_published_one(
    small_and_recorded: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu.difference("any:pair", "cpu") < gpu.TOLERANCE
    assert [tape.replays for tape in small_and_recorded] == [2]
    monkeypatch.setattr(gpu, "make_distiller", partial(training_loop.make_distiller, temperature=1.001))
    assert gpu.difference("any:pair", "cpu") > gpu.TOLERANCE


@NEEDS_NO_GPU
def test_each_side_has_a_row() -> None:
    lines = gpu.table("any:pair", "cpu", 1, with_compiled=False)
    head, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[2], *lines[4:])]
    assert [row[0] for row in rows] == [
        *("published loop", "exact", "fast", "fast, graphs", "tf32, graphs", "bfloat16, graphs")
    ]
    assert all(len(row) == len(head) for row in rows)
    assert rows[0][2] == "1.00"
    assert all(row[3:6] == ["0", "0", "0%"] for row in rows), "no kernel ran on a GPU"


@NEEDS_NO_GPU
def test_without_a_gpu_one_line_says_so() -> None:
    with pytest.raises(
        SystemExit, match=r"torch finds no GPU here; on a CPU: python -m benchmarks.speed.training_loop"
    ):
        gpu.main([])
