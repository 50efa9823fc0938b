from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.capacity import Capacity, NodeType, capacity_of, machines_to_come, promised_capacity
from cluster.description import read_description
from tests.support.paths import ROOT


def one(cpus: float, gpus: float) -> Capacity:
    return Capacity(fixed=[NodeType(count=1, cpus=cpus, gpus=gpus)])


@pytest.mark.parametrize(
    ("cpus", "gpus", "cpus_per_trial", "gpus_per_trial", "fit"),
    [
        (2, 0, 1, 0, 2),
        (3, 0, 2, 0, 1),
        (16, 4, 1, 1, 4),
        (16, 4, 1, 0.25, 16),
        (2, 4, 1, 0.25, 2),
        (1, 0, 0.5, 0, 2),
        (16, 3, 1, 0.4, 6),  # a fraction does not span two GPUs
        (16, 4, 1, 2, 2),
    ],
)
def test_how_many_trials_fit(cpus: float, gpus: float, cpus_per_trial: float, gpus_per_trial: float, fit: int) -> None:
    assert one(cpus, gpus).trials(cpus=cpus_per_trial, gpus=gpus_per_trial) == fit


def test_cores_limit_how_many_trials_share_a_gpu_on_the_machine_that_has_fewest() -> None:
    assert one(4, 1).trials_on_a_gpu(cpus=1) == 4
    assert one(48, 8).trials_on_a_gpu(cpus=1) == 6
    assert one(4, 0).trials_on_a_gpu(cpus=1) == 0
    mixed = Capacity(
        fixed=[NodeType(count=1, cpus=2, gpus=0), NodeType(count=1, cpus=16, gpus=1)],
        added=[NodeType(count=4, cpus=6, gpus=1), NodeType(count=0, cpus=1, gpus=1)],
        max_added=4,
    )
    assert mixed.trials_on_a_gpu(cpus=1) == 6
    assert mixed.trials_on_a_gpu(cpus=2) == 3


def test_a_trial_does_not_span_machines() -> None:
    two = Capacity(fixed=[NodeType(count=2, cpus=3, gpus=0)])
    assert two.trials(cpus=2, gpus=0) == 2
    assert two.trials(cpus=1, gpus=0) == 6


def test_what_is_short_is_named_with_the_remedy() -> None:
    with pytest.raises(
        ValueError, match="asks for 1 GPU and no machine of the cluster has more than 0: run with --gpus 0"
    ):
        one(2, 0).trials(cpus=1, gpus=1)
    with pytest.raises(ValueError, match="asks for 4 CPU cores and no machine .* more than 2: run with --cpus 1"):
        one(2, 0).trials(cpus=4, gpus=0)


def test_lost_nodes_do_not_count() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0, "memory": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
        {"Alive": True, "Resources": {}},
    ]
    assert capacity_of(nodes).trials(cpus=1, gpus=0) == 4


@pytest.mark.parametrize(("file", "trials"), [("cluster.yaml", 8), ("cluster/gcp.yaml", 8)])
def test_a_cluster_that_grows_is_filled_up_to_its_largest(file: str, trials: int) -> None:
    config = yaml.safe_load((ROOT / file).read_text())
    capacity = promised_capacity(config, one(0, 0))
    assert machines_to_come(config, one(0, 0)) == 0
    assert capacity is not None
    assert capacity.trials(cpus=1, gpus=1) == trials  # not 18: max_workers is for all kinds together
    assert capacity.trials(cpus=1, gpus=0.5) == 2 * trials
    assert capacity.largest_gpus == 1
    assert capacity.max_nodes == 9


def test_machines_that_one_already_has_and_are_still_to_come_are_counted(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.yaml").write_text((ROOT / "cluster" / "local.yaml").read_text())
    config = read_description(tmp_path / "bootstrap.yaml")
    for joined, to_come in ((1, 2), (3, 0), (4, 0)):
        there = Capacity(fixed=[NodeType(count=1, cpus=4, gpus=1)] * joined)
        assert machines_to_come(config, there) == to_come
        capacity = promised_capacity(config, there)
        assert capacity is not None
        assert capacity.max_nodes == max(3, joined)
        assert capacity.trials(cpus=2, gpus=0.5) == 2 * capacity.max_nodes
    assert promised_capacity({}, one(2, 0)) is None
