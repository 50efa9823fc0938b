"""How well scores without data rank students: finished sweeps whose trials have both scores and labels.

    zskt plan data-free-selection
    python run_sweep.py data-free-selection
    python run_sweep.py data-free-selection --seed 1
    python -m benchmarks.data_free_selection data-free-selection-1a2b3c4d data-free-selection-5e6f7a8b --pool

Sweeps that are named together are taken as one, of one teacher: a search has one seed, so seeds vary from sweep to sweep.
Completed trials count. Intervals are of 95 %, over trials drawn again. ``--pool`` adds scores on the images of all trials'
generators, each trial's own left out, computed here from the last checkpoints.
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
"""What each trial measures on its own generator's images anyway: the yardstick that a score has to beat."""

FEW = 5
"""Of the best by a score labels choose one."""

POOL_IMAGES = 64
"""Of each generator."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A completed trial."""

    sweep: SweepData
    trial: Trial

    def at(self, share: float, metric: str) -> float:
        """Return a metric at a share of the budget; minus infinity, the worst value, if it was not finite."""
        value = self.trial.at(share, metric)
        if value is None:
            return -float("inf")
        return -value if metric in LOWER_IS_BETTER else value


def completed(store: ObjectStore, sweep_ids: Sequence[str]) -> list[Entry]:
    """Return the completed trials of all sweeps.

    Raises:
        SystemExit: there is no such sweep, or their trials are too few, not of one teacher, or without labels.
    """
    try:
        sweeps = [read_sweep(SweepStore(store, sweep_id)) for sweep_id in sweep_ids]
    except SweepNotFoundError as error:
        raise SystemExit(str(error)) from error
    found = [
        Entry(sweep=sweep, trial=trial) for sweep in sweeps for trial in sweep.trials if trial.state == "completed"
    ]
    if len(found) < ENOUGH_FOR_RANKS:
        raise SystemExit(
            f"{', '.join(sweep_ids)}: {len(found)} completed trials; to rank them takes {ENOUGH_FOR_RANKS}"
        )
    teachers = {entry.trial.row.teacher_sha256 for entry in found if entry.trial.row}
    if len(teachers) != 1:
        raise SystemExit(f"{', '.join(sweep_ids)}: {len(teachers)} teachers; scores of one teacher's students compare")
    if any(entry.trial.at(1.0, LABELS) is None or entry.trial.at(1.0, AUDIT) is None for entry in found):
        raise SystemExit(f"{', '.join(sweep_ids)}: trials without labels, against which nothing can be held")
    return found


def scores_of(entries: Sequence[Entry], wanted: str) -> dict[str, list[float]]:
    """Of each score that every sweep has its values at the end.

    Raises:
        SystemExit: what is wanted is not among them.
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
    """Of each trial its student's agreement with the teacher, and minus their divergence, on the other trials' images."""
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
    """Each score's worth at the end of training, the better ones first."""
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
    """How early a score, and labels beside it, rank trials as labels do at the end."""
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
        raise SystemExit(f"--pool: {entry.sweep.sweep_id}/{entry.trial.trial_id} has no checkpoint any more")
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
    """Of a generator, with the statistics of the batch, as students see them."""
    generator = Generator(latent_dim=config.latent_dim, width=config.generator_width, channels=config.spec.channels)
    generator.load_state_dict(dict(weights))
    images: Tensor = generator(torch.randn(POOL_IMAGES, config.latent_dim, generator=stream(0, "pool")))
    return images


def _of_others(found: Tensor) -> list[float]:
    """Mean over the columns, each row's own left out."""
    means: list[float] = ((found.sum(1) - found.diagonal()) / (len(found) - 1)).tolist()
    return means


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _points(estimate: Estimate) -> str:
    """Of shares, in percentage points."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How well scores without data rank students.")
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    parser.add_argument("--storage", default="./runs")
    parser.add_argument(
        "--score", default="data_free_score", help="Of which the second table tells how early it ranks."
    )
    parser.add_argument("--pool", action="store_true", help="Score on the images of all generators too.")
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
