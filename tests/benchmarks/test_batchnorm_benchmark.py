"""The comparison of students with BatchNorm: its rows are as they were trained, and the docs' table follows from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import batchnorm_students as benchmark
from benchmarks.batchnorm_students import LOOPS, OUT, SeedResult, read_results, seeds_needed, table
from tests.support.paths import ROOT
from tests.support.tiny import make_splits, make_teacher, tiny_settings
from trainables.config import ZeroShotConfig

MEASUREMENTS = ROOT / "docs" / "measurements.md"


def test_the_table_in_the_docs_follows_from_the_rows_that_are_kept() -> None:
    assert "\n".join(table(read_results(OUT))) in MEASUREMENTS.read_text()


def result(seed: int, *, published: float, fast: float) -> SeedResult:
    accuracies = {"published": published, "exact": published, "fast": fast}
    times = len(benchmark.COUNTS)
    return SeedResult(
        seed=seed,
        date="2026-01-01",
        processor="Model A",
        threads=1,
        torch="2",
        teacher="0123456789abcdef",
        teacher_accuracy=0.9,
        test_accuracy={loop: [value] * times for loop, value in accuracies.items()},
        student={loop: [str(value)] * times for loop, value in accuracies.items()},
        seconds=dict.fromkeys(LOOPS, 1.0),
    )


def test_the_table_by_hand() -> None:
    # Differences of fast: 2, 4 and 6 points, mean 4 and spread 2; t with two degrees of freedom is 4.303.
    values = [(0.30, 0.32), (0.40, 0.44), (0.50, 0.56)]
    lines = table([result(seed, published=a, fast=b) for seed, (a, b) in enumerate(values)])
    assert lines[0] == "3 seeds; Model A, 1 thread, torch 2; 2026-01-01; teacher 90.0% (01234567)"
    assert lines[4] == (
        "| 25 | 40.0 ± 10.0 | 40.0 ± 10.0 | 44.0 ± 12.0 | +0.0 [+0.0, +0.0] | +4.0 [−1.0, +9.0] | 2.0 | 4 | +1.00 |"
    )
    assert lines[-1].endswith("exact 3 of 3 seeds, fast 0.")
    assert seeds_needed(12.5, 2.0) == 151


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings(seed: int) -> ZeroShotConfig:
        return ZeroShotConfig.model_validate(tiny_settings(seed=seed, total_pseudo_batches=2))

    monkeypatch.setattr(benchmark, "COUNTS", (1, 2))
    monkeypatch.setattr(benchmark, "settings", settings)
    monkeypatch.setattr(benchmark, "digits", make_splits)
    monkeypatch.setattr(benchmark, "train_teacher", lambda splits: make_teacher())


@pytest.mark.usefixtures("small")
def test_the_same_command_goes_on_and_exact_students_are_the_published_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows" / "students.jsonl"
    benchmark.main(["--seeds", "2", "--out", str(out)])
    first = out.read_text()
    benchmark.main(["--seeds", "3", "--out", str(out)])
    assert out.read_text().startswith(first)
    results = read_results(out)
    assert [found.seed for found in results] == [0, 1, 2]
    assert all(found.student["exact"] == found.student["published"] != found.student["fast"] for found in results)
    assert len({found.student["exact"][-1] for found in results}) == 3
    assert "\n".join(table(results)) in capsys.readouterr().out

    teacher = make_teacher()
    other = replace(teacher, metadata=replace(teacher.metadata, sha256="1" * 64))
    monkeypatch.setattr(benchmark, "train_teacher", lambda splits: other)
    with pytest.raises(SystemExit, match="holds seeds of another teacher .0000000000000000."):
        benchmark.main(["--seeds", "4", "--out", str(out)])
    out.write_text(f"{first}{{torn")
    with pytest.raises(SystemExit, match=r"students.jsonl, line 3: not the line of a seed"):
        benchmark.main(["--seeds", "0", "--out", str(out)])
