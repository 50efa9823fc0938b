"""Comparison of students with BatchNorm: this project's loops against the published loop, from equal initial states.

    python -m benchmarks.batchnorm_students --seeds 24

A WRN-10-1 teaches a WRN-10-1 on the packaged digits, with the published settings except batches of 16, a generator of
width 16 and 150 pseudo batches. For each seed three loops start with the same student, generator and latents: the
published loop of ``benchmarks.published_loop``, ``numerics=exact`` and ``numerics=fast``. Test accuracies are measured
after 25, 50, 75, 100 and 150 pseudo batches. Each seed adds a line to ``--out`` when it ends, so that the same command
resumes an interrupted run. The table is made from all lines of the file; ``--seeds 0`` makes the table without training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from benchmarks.digits_runs import digits
from benchmarks.published_loop import PublishedLoop
from orchestrator.analysis.paired import PairedDifference, paired_difference
from trainables.compute.devices import device_name, keep_freed_memory
from trainables.config import SupervisedConfig, ZeroShotConfig
from trainables.config.datasets import find_normalisation
from trainables.evaluation import accuracy
from trainables.images.splits import DatasetSplits
from trainables.networks import Network
from trainables.teachers.registry import teacher_recipe
from trainables.teachers.teacher import Teacher, describe_teacher
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.supervised import SupervisedTrainer

COUNTS = (25, 50, 75, 100, 150)
"""Pseudo batches after which students are measured."""

LOOPS = ("published", "exact", "fast")
OUT = Path(__file__).parent / "data" / "batchnorm_students.jsonl"


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """The results of one seed, stored as one line of the file."""

    seed: int
    date: str
    processor: str
    threads: int
    torch: str
    teacher: str
    """First 16 hexadecimal digits of the SHA-256 of the teacher's weights. Students of different teachers are not
    comparable."""

    teacher_accuracy: float
    test_accuracy: dict[str, list[float]]
    """Test accuracies of each loop's student, at each of ``COUNTS``, as shares."""

    student: dict[str, list[str]]
    """First 16 hexadecimal digits of the SHA-256 of each loop's student, at each of ``COUNTS``: equal only if all bits of
    its weights and running statistics are equal."""

    seconds: dict[str, float]


def settings(seed: int) -> ZeroShotConfig:
    """Return the published settings at a small size."""
    return ZeroShotConfig(
        dataset="digits",
        teacher="wrn-10-1",
        student="wrn-10-1",
        batch_size=16,
        generator_width=16,
        total_pseudo_batches=COUNTS[-1],
        compilation="never",
        seed=seed,
    )


def train_teacher(splits: DatasetSplits) -> Teacher:
    """Train the teacher of all seeds; its bits are the same on one CPU model with one version of torch."""
    recipe = SupervisedConfig(
        dataset="digits", student="wrn-10-1", full_data_epochs=10, learning_rate=0.05, batch_size=64
    )
    trainer = SupervisedTrainer(recipe, splits=splits)
    while trainer.epochs < recipe.budget:
        trainer.update()
    return describe_teacher(
        trainer.student.eval(),
        dataset=recipe.dataset,
        name=recipe.student,
        normalisation=recipe.dataset,
        source="trained",
        recipe=teacher_recipe(recipe),
        splits=splits,
    )


def run_seed(seed: int, teacher: Teacher, splits: DatasetSplits) -> SeedResult:
    """Train and measure the students of one seed, one loop after the other."""
    config = settings(seed)
    published = PublishedLoop.beginning(config, teacher, splits)
    students: dict[str, tuple[Network, Callable[[], None]]] = {"published": (published.student, published.pseudo_batch)}
    for numerics in ("exact", "fast"):
        ours = ZeroShotDistiller(config.model_copy(update={"numerics": numerics}), teacher=teacher, splits=splits)
        students[numerics] = ours.student, partial(ours.train, 1)
    accuracies: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    bits: dict[str, list[str]] = {loop: [] for loop in LOOPS}
    seconds = {}
    for loop, (student, pseudo_batch) in students.items():
        start = time.perf_counter()
        for done in range(1, COUNTS[-1] + 1):
            pseudo_batch()
            if done in COUNTS:
                accuracies[loop].append(accuracy(student, splits.test, find_normalisation(config.dataset)))
                bits[loop].append(digest(student))
        seconds[loop] = round(time.perf_counter() - start, 1)
    return SeedResult(
        seed=seed,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        processor=device_name(torch.device("cpu")),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        teacher=teacher.metadata.sha256[:16],
        teacher_accuracy=teacher.metadata.test_accuracy or math.nan,
        test_accuracy=accuracies,
        student=bits,
        seconds=seconds,
    )


def digest(network: Network) -> str:
    """Return a checksum of all weights and running statistics, independent of their memory layout."""
    found = hashlib.sha256()
    for value in network.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def read_results(path: Path) -> list[SeedResult]:
    """Read the results in the file, ordered by seed; empty if there is no file.

    Raises:
        SystemExit: a line of the file does not hold the results of a seed.
    """
    results = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        try:
            results.append(SeedResult(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise SystemExit(f"{path}, line {number}: not the line of a seed ({error}); delete the line") from error
    return sorted(results, key=lambda result: result.seed)


def differences(results: Sequence[SeedResult], loop: str, at: int) -> PairedDifference:
    """Compare a loop's test accuracy with the published loop's, by seed, in points, at ``COUNTS[at]`` pseudo batches."""
    return paired_difference(
        *({r.seed: 100 * r.test_accuracy[name][at] for r in results} for name in (loop, "published"))
    )


def seeds_needed(spread: float, half_width: float) -> int:
    """Return the number of seeds for a 95 % interval of ± ``half_width``: (1.96 spread / half width) squared, rounded up.

    Args:
        spread: Standard deviation of the seeds' differences, in the unit of the half width.
        half_width: Half width of the interval around the mean difference, above 0.
    """
    return math.ceil((statistics.NormalDist().inv_cdf(0.975) * spread / half_width) ** 2)


def table(results: Sequence[SeedResult]) -> list[str]:
    """Return the results as lines of Markdown: the machine, the accuracies, and paired differences with their intervals."""
    kinds = {(r.processor, r.threads, r.torch) for r in results}
    dates = sorted({r.date for r in results})
    teachers = {(r.teacher_accuracy, r.teacher) for r in results}
    lines = [
        f"{len(results)} seeds; "
        + "; ".join(f"{cpu}, {n} thread{'s' if n > 1 else ''}, torch {version}" for cpu, n, version in sorted(kinds))
        + f"; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        + ", ".join(f"teacher {share:.1%} ({name[:8]})" for share, name in sorted(teachers)),
        "",
        "| pseudo batches | published loop, % | exact, % | fast, % | exact − published [95 %], points "
        "| fast − published [95 %], points | spread of that | seeds for ± 2 | correlation of fast and published |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for at, count in enumerate(COUNTS):
        values = {loop: [100 * r.test_accuracy[loop][at] for r in results] for loop in LOOPS}
        cells = [f"{statistics.fmean(v):.1f} ± {statistics.stdev(v):.1f}" for v in values.values()]
        for loop in LOOPS[1:]:
            found = differences(results, loop, at)
            cells.append(f"{_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}]")
        spread = statistics.stdev(
            ours - theirs for ours, theirs in zip(values["fast"], values["published"], strict=True)
        )
        cells += [f"{spread:.1f}", str(seeds_needed(spread, 2.0))]
        vary = all(len(set(values[loop])) > 1 for loop in ("fast", "published"))
        cells.append(_signed(statistics.correlation(values["fast"], values["published"]), digits=2) if vary else "–")
        lines.append(f"| {count} | {' | '.join(cells)} |")
    equal = {loop: sum(r.student[loop][-1] == r.student["published"][-1] for r in results) for loop in LOOPS[1:]}
    return [
        *lines,
        "",
        f"Students equal to the published loop's in every bit after {COUNTS[-1]} pseudo batches: exact {equal['exact']} of "
        f"{len(results)} seeds, fast {equal['fast']}.",
    ]


def _signed(value: float, *, digits: int = 1) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing seeds, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=24, metavar="N", help="run seeds 0 to N - 1; 0 only prints the table"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help="file with a JSON line for each seed (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    results = read_results(chosen.out)
    missing = sorted(set(range(chosen.seeds)) - {result.seed for result in results})
    if missing:
        splits = digits()
        teacher = train_teacher(splits)
        others = {result.teacher for result in results} - {teacher.metadata.sha256[:16]}
        if others:
            raise SystemExit(
                f"{chosen.out}: holds seeds of another teacher ({', '.join(others)}), since another processor or version of "
                "torch trains a different one; name a new file with --out"
            )
    for seed in missing:
        result = run_seed(seed, teacher, splits.without_training_images())
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        with chosen.out.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        shares = ", ".join(f"{loop} {values[-1]:.1%}" for loop, values in result.test_accuracy.items())
        print(f"seed {seed}: {shares} in {sum(result.seconds.values()):.0f} s", flush=True)
    results = read_results(chosen.out)
    if len(results) < 2:
        raise SystemExit(f"{chosen.out}: {len(results)} seeds; a table needs two")
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
