"""Data-free trials with their checkpoints on a storage: gone on with, taken over, and left with nothing superfluous."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.compositions import COMPOSITIONS
from tests.support.tiny import make_inputs, tiny_settings
from trainables.storage.checkpoint import CheckpointStore
from trainables.storage.object_store import ObjectStore
from trainables.storage.students import StudentStore
from trainables.trial import RunningTrial, TrialStorage
from trainables.trial_result import DONE, parse_settings
from trainables.trial_run import TrialRun

POOLED = [name for name, changes in COMPOSITIONS.items() if changes.get("pool", "none") != "none"]


def storage_below(store: ObjectStore, sweep_id: str) -> TrialStorage:
    below = store.below(sweep_id)
    return TrialStorage(
        sweep_id=sweep_id,
        checkpoints=CheckpointStore(below),
        students=StudentStore(below.below("students")),
        curves=below.below("curves"),
        snapshots=below.below("snapshots"),
    )


def start(storage: TrialStorage, trial_id: str = "t0001", **changes: Any) -> TrialRun:
    settings = {"trial_id": trial_id, **tiny_settings(method="data_free", evaluation_interval=2, **changes)}
    inputs = make_inputs(parse_settings(settings))
    return TrialRun.start(settings, inputs=inputs, storage=storage, checkpoint_seconds=0)


def running(run: TrialRun) -> RunningTrial:
    assert isinstance(run.trial, RunningTrial), run.trial.message
    return run.trial


def end(run: TrialRun) -> dict[str, torch.Tensor]:
    """Run a trial to its end, and return its student's weights."""
    while not run.step()[DONE]:
        pass
    return {name: value.clone() for name, value in running(run).training.student.state_dict().items()}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_trial_that_is_broken_off_anywhere_has_the_student_of_one_that_was_not(name: str, store: ObjectStore) -> None:
    whole = end(start(storage_below(store, "whole"), **COMPOSITIONS[name]))
    broken = storage_below(store, "broken")
    for parts in (2, 5):
        trial = running(start(broken, **COMPOSITIONS[name]))
        for _ in range(parts):
            trial.training.step()
        trial.save()
        trial.wait_for_checkpoint()
    again = end(start(broken, **COMPOSITIONS[name]))
    assert all(torch.equal(value, again[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", POOLED)
def test_a_pool_lies_on_the_storage_and_is_gone_when_the_trial_has_ended(name: str, store: ObjectStore) -> None:
    run = start(storage_below(store, "sweep-a"), total_pseudo_batches=6, **COMPOSITIONS[name])
    pieces: list[list[str]] = []
    while not run.step()[DONE]:
        pieces.append(store.keys("sweep-a/pieces"))
    assert pieces[-1]
    assert store.keys("sweep-a/t0001")
    assert store.keys("sweep-a/pieces") == []
    assert start(storage_below(store, "sweep-a"), total_pseudo_batches=6, **COMPOSITIONS[name]).step()[DONE]


def test_curves_are_taken_of_a_trial_whose_terms_watch_the_teacher(store: ObjectStore) -> None:
    changes = COMPOSITIONS["meta-generator, pool, teacher looks again"]
    run = start(storage_below(store, "sweep-a"), transition_images=4, **changes)
    while not (result := run.step())[DONE]:
        pass
    assert result["mean_transition_error"] is not None or any(
        "no transition curves" in note for note in result["notes"]
    )


def test_pictures_are_taken_of_an_odd_number_of_images(store: ObjectStore) -> None:
    end(start(storage_below(store, "sweep-a"), source="pixels", batch_size=5))
    assert store.keys("sweep-a/snapshots")


@pytest.mark.parametrize(
    ("donor", "heir"),
    [
        ({"source": "meta_generator", "latent_lr": 0.01}, {"source": "meta_generator"}),
        ({"source": "meta_generator"}, {"source": "meta_generator", "latent_lr": 0.01}),
        ({"pool": "all", "pool_views": 2}, {"pool": "all", "pool_views": 2, "attention_weight": 0.0}),
        ({"pool": "all", "contrastive_weight": 1.0}, {"pool": "all", "balance_weight": 1.0}),
        ({"pool": "reservoir", "pool_size": 12}, {"pool": "reservoir", "pool_size": 5}),
    ],
    ids=str,
)
def test_a_trial_goes_on_from_one_with_other_settings(
    donor: dict[str, Any], heir: dict[str, Any], store: ObjectStore
) -> None:
    storage = storage_below(store, "sweep-a")
    end(start(storage, total_pseudo_batches=2, learning_rate_horizon=4, **donor))
    run = start(storage, "t0002", total_pseudo_batches=4, initial_trial="t0001", **heir)
    result = run.step()
    assert "failure" not in result, result
    assert result["pool_images"] <= 5 or "reservoir" not in heir.values()


def test_attention_is_not_switched_on_for_a_pool_without_maps(store: ObjectStore) -> None:
    storage = storage_below(store, "sweep-a")
    pooled: dict[str, Any] = {"pool": "all", "pool_views": 2, "learning_rate_horizon": 4}
    end(start(storage, total_pseudo_batches=2, attention_weight=0.0, **pooled))
    run = start(storage, "t0002", total_pseudo_batches=4, initial_trial="t0001", **pooled)
    assert "has no attention maps; allowed: 0" in run.step()["failure"]


def test_a_part_that_ends_in_the_warm_up_does_not_let_the_student_learn(store: ObjectStore) -> None:
    storage = storage_below(store, "sweep-a")
    parts: dict[str, Any] = {"learning_rate_horizon": 8, "warmup_share": 0.5}
    first = start(storage, total_pseudo_batches=2, **parts).step()
    assert (first["pseudo_batches"], first["student_updates"]) == (2, 0)
    second = start(storage, "t0002", total_pseudo_batches=6, initial_trial="t0001", **parts).step()
    assert (second["pseudo_batches"], second["student_updates"]) == (6, 4)


def test_a_trial_takes_over_the_pool_of_another(store: ObjectStore) -> None:
    storage = storage_below(store, "sweep-a")
    changes: dict[str, Any] = {"pool": "all", "generator_output": "sigmoid", "learning_rate_horizon": 4}
    first = start(storage, total_pseudo_batches=2, **changes)
    first.step()
    second = running(start(storage, "t0002", total_pseudo_batches=4, initial_trial="t0001", student_lr=1e-4, **changes))
    assert second.training.report()["pool_images"] == 8
    settings: dict[str, Any] = {"total_pseudo_batches": 4, "initial_trial": "t0001", **changes, "pool": "none"}
    refused = start(storage, "t0003", **settings).step()
    assert "pool='all' (here 'none')" in refused["failure"]
