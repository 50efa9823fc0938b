"""Test accuracies of many runs on the packaged digits, from which the digits' verdicts have their bands and error rates.

    python -m benchmarks.digits_runs --kind exact --first 100 --seeds 60
    python -m benchmarks.digits_runs --kind plain --first 100 --seeds 12

Each run is a line of ``benchmarks/data/digits_runs.csv`` as soon as it has ended, and is not made again. ``exact`` is a
trial of ``digits-table-1``; ``plain`` the same by the plain transcription of the published loop, which must come out equal;
the others are ``benchmarks.defects``' rigged students, with and without a fault. Seeds begin at 100, so that none is one
that the preset or a test runs: their verdicts are then about other draws, and not about the same numbers found again.
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
"""``settings``: checksum of the trial's settings and the teacher's recipe; rows of other settings do not count."""

Run = Callable[[ZeroShotConfig, Teacher, DatasetSplits], float]
"""Test accuracy, a share, of a run with a config, a teacher and images."""


def digits() -> DatasetSplits:
    """Load the images that the preset uses."""
    return load_dataset("digits", data_root=Path("unused"), validation_fraction=0)


def train_teacher(sweep: SweepConfig, splits: DatasetSplits) -> Teacher:
    """Train the preset's teacher, by its recipe."""
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
    """Run a trial of the preset."""
    distiller = ZeroShotDistiller(config, teacher=teacher, splits=splits.without_training_images())
    distiller.train(config.budget)
    return accuracy(distiller.student, splits.test, distiller.normalisation)


def plain(config: ZeroShotConfig, teacher: Teacher, splits: DatasetSplits) -> float:
    """Run the plain loop, from the same initial networks and latents as a trial with that seed."""
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
    """Return the preset, for rigged students with their settings."""
    if not kind.startswith("batchnorm"):
        return load_sweep(PRESET)
    rigged = load_sweep(PRESET, assignments=[f"{field}={value}" for field, value in SETTINGS.items()])
    return rigged.model_copy(update={"teacher_recipe": dict(TEACHER_RECIPE)})


def config_of(kind: str, seed: int) -> ZeroShotConfig:
    """Return a trial of that kind."""
    config = sweep_of(kind).configs()[0].model_copy(update={"seed": seed})
    assert isinstance(config, ZeroShotConfig)
    return config


def settings_checksum(kind: str) -> str:
    """Return eight hexadecimal digits that change whenever the trial's settings or the teacher's recipe do.

    Of what differs from the defaults, as the ids of sweeps: a field that comes later changes no run that was made before.
    """
    config = config_of(kind, seed=0)
    recipe = sweep_of(kind).teacher_config(config)
    text = json.dumps([part.model_dump(exclude_defaults=True) for part in (config, recipe)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_rows(path: Path = ROWS) -> list[dict[str, str]]:
    """Read all kept rows."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def kept_accuracies(kind: str, path: Path = ROWS) -> dict[int, float]:
    """Test accuracy by seed of the kept runs of a kind that had today's settings."""
    settings = settings_checksum(kind)
    rows = [row for row in read_rows(path) if (row["kind"], row["settings"]) == (kind, settings)]
    return {int(row["seed"]): float(row["test_accuracy"]) for row in rows}


def append_row(path: Path, row: dict[str, object]) -> None:
    """Add a line to the file, which begins with its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), default="exact")
    parser.add_argument("--first", type=int, default=100, help="The first seed.")
    parser.add_argument("--seeds", type=int, default=60, help="How many seeds, from the first on.")
    parser.add_argument("--out", type=Path, default=ROWS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # bits depend on it, and a trial has one
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
