from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from PIL import Image

from tests.support.tiny import make_distiller
from trainables.config import ZeroShotConfig
from trainables.training.image_snapshots import SNAPSHOTS, ImageSnapshot, is_due


def flat(state: object) -> list[torch.Tensor]:
    """All tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for value in values for tensor in flat(value)]


@pytest.mark.parametrize("settings", [{}, {"numerics": "exact"}, {"precision": "bfloat16"}])
def test_a_snapshot_changes_no_bit_of_the_training(settings: dict[str, Any]) -> None:
    watched, alone = make_distiller(**settings), make_distiller(**settings)
    modes = [module.training for network in (watched.student, watched.generator) for module in network.modules()]
    for _ in range(2):
        watched.train(1)
        alone.train(1)
        random_state = torch.random.get_rng_state()
        watched.image_snapshot()
        assert torch.equal(torch.random.get_rng_state(), random_state)
    ours, theirs = flat(watched.state_dict()), flat(alone.state_dict())
    assert len(ours) == len(theirs) > 50
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert modes == [
        module.training for network in (watched.student, watched.generator) for module in network.modules()
    ]


def test_the_same_state_gives_the_same_snapshot_and_another_one_another() -> None:
    distiller = make_distiller()
    distiller.train(1)
    first = distiller.image_snapshot()
    assert distiller.image_snapshot() == first
    distiller.train(1)
    later = distiller.image_snapshot()
    assert (first.pseudo_batches, first.share, later.pseudo_batches) == (1, 0.25, 2)
    assert later.png != first.png


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_it_shows_eight_images_and_counts_classes(dataset: str) -> None:
    network = "lenet" if dataset == "digits" else "wrn-16-1"
    snapshot = make_distiller(dataset=dataset, teacher=network, student=network).image_snapshot()
    picture = Image.open(io.BytesIO(snapshot.png))
    assert picture.size == (4 * 33 + 1, 2 * 33 + 1)
    assert [sum(snapshot.teacher_classes), sum(snapshot.student_classes)] == [512, 512]
    assert len(snapshot.teacher_classes) == len(snapshot.student_classes) == 10
    data = snapshot.to_parquet("t0001")
    assert len(data) < (12_000 if dataset == "digits" else 32_000)
    assert ImageSnapshot.from_parquet(data) == snapshot


@pytest.mark.parametrize(("budget", "interval"), [(100, 10), (140, 10), (7, 3), (3, 1), (4, 4), (80_000, 333)])
def test_one_is_due_at_each_fifth_of_the_budget_as_far_as_reports_fall_there(budget: int, interval: int) -> None:
    config = ZeroShotConfig(total_pseudo_batches=budget, evaluation_interval=interval)
    reports = [min(done, budget) for done in range(interval, budget + interval, interval)]
    due = [done for done in reports if is_due(config, done)]
    assert due[-1] == budget
    assert len(due) == min(SNAPSHOTS, len(reports))
    fifths = [-(-number * budget // SNAPSHOTS) for number in range(1, SNAPSHOTS + 1)]
    assert set(due) == {next(done for done in reports if done >= fifth) for fifth in fifths}
