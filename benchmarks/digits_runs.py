"""Test accuracies of many runs on the packaged digits, from which the bands and error rates of verdicts are computed.

    python -m benchmarks.digits_runs --kind exact --first 100 --seeds 60
    python -m benchmarks.digits_runs --kind plain --first 100 --seeds 12

Each run adds a line to ``benchmarks/data/digits_runs.csv`` when it ends, and is not repeated later. ``exact`` is a trial of
``digits-table-1``. ``plain`` is the same trial by the plain transcription of the published loop, whose results must be
equal. The other kinds train the students of ``benchmarks.defects`` with and without a fault. Seeds begin at 100, so that
the preset and the tests use none of them: their verdicts are then about independent draws.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.defects import FAULTS, SETTINGS, TEACHER_RECIPE, accuracy_with
from benchmarks.published_loop import PublishedLoop
from orchestrator.config import SweepConfig
from orchestrator.config.loading import load_sweep
from trainables.compute.devices import device_name
from trainables.config import ZeroShotConfig
from trainables.config.datasets import find_normalisation
from trainables.evaluation import accuracy
from trainables.images.load import load_dataset
from trainables.images.splits import DatasetSplits
from trainables.teachers.registry import teacher_recipe
from trainables.teachers.teacher import Teacher, describe_teacher
from trainables.training.distiller import ZeroShotDistiller
from trainables.training.supervised import SupervisedTrainer

PRESET = "digits-table-1"
ROWS = Path(__file__).parent / "data" / "digits_runs.csv"
COLUMNS = ("kind", "settings", "seed", "test_accuracy", "seconds", "processor", "torch", "date")
"""Columns of the file. ``settings`` is a checksum of the trial's settings and the teacher's recipe; rows with another
checksum are ignored."""

Run = Callable[[ZeroShotConfig, Teacher, DatasetSplits], float]
"""Function that trains a student with a config, a teacher and images, and returns its test accuracy as a share."""


def digits() -> DatasetSplits:
    """Load the images that the preset uses."""
    return load_dataset("digits", data_root=Path("unused"), validation_fraction=0)


def train_teacher(sweep: SweepConfig, splits: DatasetSplits) -> Teacher:
    """Train a sweep's teacher by its recipe."""
    recipe = sweep.teacher_config(sweep.configs()[0])
    trainer = SupervisedTrainer(recipe, splits=splits)
    while not trainer.finished:
        trainer.advance()
    return describe_teacher(
        trainer.student.eval(),
        dataset=recipe.dataset,
        name=recipe.student,
        normalisation=recipe.dataset,
        source="trained",
        recipe=teacher_recipe(recipe),
        splits=splits,
    )


def exact(config: ZeroShotConfig, teacher: Teacher, splits: DatasetSplits) -> float:
    """Run a trial of the preset, and return its test accuracy."""
    distiller = ZeroShotDistiller(config, teacher=teacher, splits=splits.without_training_images())
    distiller.train(config.budget)
    return accuracy(distiller.student, splits.test, distiller.normalisation)


def plain(config: ZeroShotConfig, teacher: Teacher, splits: DatasetSplits) -> float:
    """Run the published loop from the initial networks and latents of a trial with this seed; return its test accuracy."""
    loop = PublishedLoop.beginning(config, teacher, splits.without_training_images())
    for _ in range(config.total_pseudo_batches):
        loop.pseudo_batch()
    return accuracy(loop.student, splits.test, find_normalisation(config.dataset))


def _with_fault(name: str) -> Run:
    return lambda config, teacher, splits: accuracy_with(FAULTS[name], config, teacher, splits)


KINDS: dict[str, Run] = {
    "exact": exact,
    "plain": plain,
    **{f"batchnorm-{name}": _with_fault(name) for name in FAULTS},
}


def sweep_of(kind: str) -> SweepConfig:
    """Return the preset; for the kinds of ``benchmarks.defects`` with their settings and teacher recipe."""
    if not kind.startswith("batchnorm"):
        return load_sweep(PRESET)
    rigged = load_sweep(PRESET, assignments=[f"{field}={value}" for field, value in SETTINGS.items()])
    return rigged.model_copy(update={"teacher_recipe": dict(TEACHER_RECIPE)})


def config_of(kind: str, seed: int) -> ZeroShotConfig:
    """Return the config of a trial of a kind with a seed."""
    config = sweep_of(kind).configs()[0].model_copy(update={"seed": seed})
    assert isinstance(config, ZeroShotConfig)
    return config


def settings_checksum(kind: str) -> str:
    """Return a checksum, eight hexadecimal digits, of the trial's settings and the teacher's recipe.

    Only values that differ from the defaults enter the checksum, as in the ids of sweeps, so that a field that is added
    later does not invalidate earlier runs.
    """
    config = config_of(kind, seed=0)
    recipe = sweep_of(kind).teacher_config(config)
    text = json.dumps([part.model_dump(exclude_defaults=True) for part in (config, recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_rows(path: Path = ROWS) -> list[dict[str, str]]:
    """Read all rows of the file; empty if there is no file."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def kept_accuracies(kind: str, path: Path = ROWS) -> dict[int, float]:
    """Return the test accuracies, by seed, of the stored runs of a kind that have its current settings."""
    settings = settings_checksum(kind)
    rows = [row for row in read_rows(path) if (row["kind"], row["settings"]) == (kind, settings)]
    return {int(row["seed"]): float(row["test_accuracy"]) for row in rows}


def append_row(path: Path, row: dict[str, object]) -> None:
    """Append a row to the file; a new file starts with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing seeds, and print the row of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), default="exact")
    parser.add_argument("--first", type=int, default=100, help="first seed")
    parser.add_argument("--seeds", type=int, default=60, help="number of consecutive seeds")
    parser.add_argument("--out", type=Path, default=ROWS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # results depend on the number of threads, and a trial has one
    splits = digits()
    teacher = train_teacher(sweep_of(options.kind), splits)
    settings, kept = settings_checksum(options.kind), kept_accuracies(options.kind, options.out)
    for seed in range(options.first, options.first + options.seeds):
        if seed in kept:
            continue
        begin = time.process_time()
        value = KINDS[options.kind](config_of(options.kind, seed), teacher, splits)
        row = {
            "kind": options.kind,
            "settings": settings,
            "seed": seed,
            "test_accuracy": value,
            "seconds": f"{time.process_time() - begin:.1f}",
            "processor": device_name(torch.device("cpu")),
            "torch": torch.__version__,
            "date": datetime.datetime.now(tz=datetime.UTC).date(),
        }
        append_row(options.out, row)
        print(",".join(map(str, row.values())), flush=True)


if __name__ == "__main__":
    main()
