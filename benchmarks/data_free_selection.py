"""How well data-free scores rank students, measured on finished sweeps whose trials have both scores and labels.

    zskt plan data-free-selection
    python run_sweep.py data-free-selection
    python run_sweep.py data-free-selection --seed 1
    python -m benchmarks.data_free_selection data-free-selection-1a2b3c4d data-free-selection-5e6f7a8b --pool

The trials of all named sweeps are pooled; the sweeps must have the same teacher. A search has one seed, so several sweeps
give several seeds. Only completed trials count. Intervals are 95 %, over resampled trials. ``--pool`` adds scores of each
trial on the images of all other trials' generators, computed here from the last checkpoints.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orchestrator.analysis.statistics import ENOUGH_FOR_RANKS, Estimate, rank_correlation, regret
from orchestrator.config.blocks import StorageConfig
from orchestrator.errors import SweepNotFoundError
from orchestrator.report.data import SweepData, Trial, read_sweep
from orchestrator.storage import SweepStore, find_storage, layout
from trainables.config import ZeroShotConfig
from trainables.metrics import DATA_FREE_METRICS, LOWER_IS_BETTER
from trainables.networks import Network, build_network
from trainables.networks.generator import Generator
from trainables.seeding import stream
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.teachers.registry import TeacherRegistry

LABELS, AUDIT = "validation_accuracy", "test_accuracy"

OF_TRAINING = ("divergence", "teacher_class_entropy", "student_class_entropy", "image_diversity", "teacher_confidence")
"""Metrics of each trial on its own generator's images; a score should rank trials better than these do."""

FEW = 5
"""Number of the best trials by a score among which labels choose."""

POOL_IMAGES = 64
"""Pseudo images of each generator for the scores of ``--pool``."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A completed trial and its sweep."""

    sweep: SweepData
    trial: Trial

    def at(self, share: float, metric: str) -> float:
        """Return a metric at a share of the budget, with larger values better; minus infinity if it is not finite."""
        value = self.trial.at(share, metric)
        if value is None:
            return -float("inf")
        return -value if metric in LOWER_IS_BETTER else value


def completed(store: ObjectStore, sweep_ids: Sequence[str]) -> list[Entry]:
    """Return the completed trials of all sweeps.

    Raises:
        SystemExit: a sweep does not exist, or the trials are too few, have several teachers, or have no labels.
    """
    try:
        sweeps = [read_sweep(SweepStore(store, sweep_id)) for sweep_id in sweep_ids]
    except SweepNotFoundError as error:
        raise SystemExit(str(error)) from error
    found = [
        Entry(sweep=sweep, trial=trial) for sweep in sweeps for trial in sweep.trials if trial.state == "completed"
    ]
    if len(found) < ENOUGH_FOR_RANKS:
        raise SystemExit(f"{', '.join(sweep_ids)}: {len(found)} completed trials; a ranking needs {ENOUGH_FOR_RANKS}")
    teachers = {entry.trial.row.teacher_sha256 for entry in found if entry.trial.row}
    if len(teachers) != 1:
        raise SystemExit(
            f"{', '.join(sweep_ids)}: {len(teachers)} teachers; only students of one teacher are comparable"
        )
    if any(entry.trial.at(1.0, LABELS) is None or entry.trial.at(1.0, AUDIT) is None for entry in found):
        raise SystemExit(f"{', '.join(sweep_ids)}: some trials have no labels to compare scores with")
    return found


def scores_of(entries: Sequence[Entry], wanted: str) -> dict[str, list[float]]:
    """Return the final values of each score that all sweeps have measured, by name of the score.

    Raises:
        SystemExit: the wanted score is not among them.
    """
    found = {}
    for name in (*DATA_FREE_METRICS, *OF_TRAINING):
        measured = {entry.sweep.sweep_id for entry in entries if entry.trial.at(1.0, name) is not None}
        if measured == {entry.sweep.sweep_id for entry in entries}:
            found[name] = [entry.at(1.0, name) for entry in entries]
    if wanted not in found:
        raise SystemExit(
            f"--score {wanted}: not every sweep has measured it; allowed: {', '.join(found)}. "
            "Sweeps with trial: {data_free_scores: true} have them all"
        )
    return found


def pool_scores(store: ObjectStore, entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Return the scores of all trials on the images of the other trials' generators.

    The scores are the student's agreement with the teacher, and minus the KL divergence between them.
    """
    states = [_last_state(store, entry) for entry in entries]
    configs = [ZeroShotConfig.model_validate(state["config"]) for state in states]
    teacher = _teacher(store, entries[0])
    students = [_student(config, state["student"]) for config, state in zip(configs, states, strict=True)]
    agreement, divergence = torch.zeros(2, len(entries), len(entries)).unbind()
    with torch.no_grad():
        for column, (config, state) in enumerate(zip(configs, states, strict=True)):
            images = _images(config, state["generator"])
            ours = teacher(images)[0].log_softmax(1)
            for row, student in enumerate(students):
                theirs = student(images)[0].log_softmax(1)
                agreement[row, column] = (ours.argmax(1) == theirs.argmax(1)).float().mean()
                divergence[row, column] = (ours.exp() * (ours - theirs)).sum(1).mean()
    return {"agreement on the pool": _of_others(agreement), "minus divergence on the pool": _of_others(-divergence)}


def table_of_scores(entries: Sequence[Entry], scores: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield a Markdown table of how well each final score ranks trials, the best scores first."""
    labels, audit = ([entry.at(1.0, metric) for entry in entries] for metric in (LABELS, AUDIT))
    half = sorted(range(len(entries)), key=lambda index: -labels[index])[: len(entries) // 2]
    ranks = {name: rank_correlation(values, labels) for name, values in scores.items()}
    yield "| score | Spearman | Kendall | Spearman, better half | regret of the pick | of the best five, chosen by labels |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, found in sorted(ranks.items(), key=lambda item: -item[1].value if item[1] else math.inf):
        if found is None:
            yield f"| {name} | constant |  |  |  |  |"
            continue
        values = scores[name]
        of_half = rank_correlation([values[index] for index in half], [labels[index] for index in half])
        cells = [
            _interval(found),
            _interval(rank_correlation(values, labels, by_pairs=True)),
            _interval(of_half),
            _points(regret(values, labels, audit)),
            _points(regret(values, labels, audit, among=FEW)),
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def table_of_moments(entries: Sequence[Entry], score: str) -> Iterator[str]:
    """Yield a Markdown table of how well a score and labels at each share of the budget rank trials as final labels do."""
    final = [entry.at(1.0, LABELS) for entry in entries]
    shares = sorted({round(share, 2): share for entry in entries for share in entry.trial.shares}.values())
    yield f"| share of the budget | {score} | {LABELS} |"
    yield "| --- | --- | --- |"
    for share in shares:
        ranks = [rank_correlation([entry.at(share, metric) for entry in entries], final) for metric in (score, LABELS)]
        yield f"| {share:.0%} | {' | '.join(map(_interval, ranks))} |"


def _last_state(store: ObjectStore, entry: Entry) -> Mapping[str, Any]:
    checkpoints = CheckpointStore(store.below(layout.checkpoint_folder(entry.sweep.sweep_id)))
    state = checkpoints.load_newest(entry.trial.trial_id, warn=print)
    if state is None:
        raise SystemExit(f"--pool: {entry.sweep.sweep_id}/{entry.trial.trial_id} no longer has a checkpoint")
    return state


def _teacher(store: ObjectStore, entry: Entry) -> Network:
    sweep = entry.sweep.sweep
    found = TeacherRegistry(store.below(layout.TEACHERS)).find(sweep.teacher_config(sweep.configs()[0]))
    if found is None:
        raise SystemExit("--pool: the teacher is not in the storage's registry")
    return found.build().eval()


def _student(config: ZeroShotConfig, weights: Mapping[str, Tensor]) -> Network:
    student = build_network(config.student, **config.spec.shapes)
    student.load_state_dict(dict(weights))
    return student.eval()


def _images(config: ZeroShotConfig, weights: Mapping[str, Tensor]) -> Tensor:
    """Return ``POOL_IMAGES`` pseudo images of a generator, with batch statistics in BatchNorm, as students see them."""
    generator = Generator(latent_dim=config.latent_dim, width=config.generator_width, channels=config.spec.channels)
    generator.load_state_dict(dict(weights))
    images: Tensor = generator(torch.randn(POOL_IMAGES, config.latent_dim, generator=stream(0, "pool")))
    return images


def _of_others(found: Tensor) -> list[float]:
    """Return the mean of each row without its diagonal element."""
    means: list[float] = ((found.sum(1) - found.diagonal()) / (len(found) - 1)).tolist()
    return means


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _points(estimate: Estimate) -> str:
    """Format an estimate of a share and its interval in percentage points."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure how well data-free scores rank students.")
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    parser.add_argument("--storage", default="./runs")
    parser.add_argument("--score", default="data_free_score", help="score of the second table, by share of the budget")
    parser.add_argument("--pool", action="store_true", help="also score on the images of all generators")
    arguments = parser.parse_args()
    store = find_storage(StorageConfig(uri=arguments.storage))
    entries = completed(store, arguments.sweeps)
    scores = scores_of(entries, arguments.score)
    accuracies = sorted(entry.at(1.0, LABELS) for entry in entries)
    print(
        f"{len(entries)} completed trials of {', '.join(arguments.sweeps)}; {LABELS} from {accuracies[0]:.1%} to "
        f"{accuracies[-1]:.1%}, median {accuracies[len(accuracies) // 2]:.1%}\n"
    )
    if arguments.pool:
        scores |= pool_scores(store, entries)
    for line in (*table_of_scores(entries, scores), "", *table_of_moments(entries, arguments.score)):
        print(line)


if __name__ == "__main__":
    main()
