from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster.prices import Machine, described_machines, machine_of, read_prices
from tests.support.paths import ROOT

SPOT = Machine(name="g6.xlarge", spot=True, cpus=4, gpus=1)


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster/gcp.yaml"])
def test_every_machine_that_our_clusters_rent_has_a_price(file: str) -> None:
    prices = read_prices()
    machines = described_machines(yaml.safe_load((ROOT / file).read_text()))
    assert len(machines) > 2
    for machine in machines.values():
        assert prices.hour(machine), machine
    spot = {machine.name for machine in machines.values() if machine.spot}
    assert spot == ({"g6.xlarge", "g5.xlarge"} if file == "cluster.yaml" else {"g2-standard-4"})


def test_a_spot_machine_is_cheaper_and_nobody_gives_one_away() -> None:
    prices = read_prices()
    for machine in prices.machines():
        assert 0 < (prices.hour(machine) or 0) < 100
    assert (prices.hour(SPOT) or 0) < (prices.hour(Machine(name="g6.xlarge", spot=False, cpus=4, gpus=1)) or 0)


@pytest.mark.parametrize(
    ("cpus", "gpus", "share"), [(1, 1, 0.25), (16, 0.5, 0.125), (4, 0, 0.25), (64, 0, 1), (1, 8, 1)]
)
def test_a_trial_takes_its_part_of_the_gpus_or_without_of_the_cores(cpus: float, gpus: float, share: float) -> None:
    assert Machine(name="a", spot=False, cpus=16, gpus=4).share(cpus=cpus, gpus=gpus) == share


def test_prices_of_ones_own_go_first(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("machines: {g6.xlarge: {cpus: 4, gpus: 1, spot: 0.1}, our-box: {on_demand: 0.5}}")
    prices = read_prices(mine)
    assert prices.hour(SPOT) == 0.1
    assert prices.hour(Machine(name="our-box", spot=False, cpus=8, gpus=2)) == 0.5
    assert prices.hour(Machine(name="their-box", spot=False, cpus=8, gpus=2)) is None
    assert prices.hour(Machine(name="g5.xlarge", spot=False, cpus=4, gpus=1)) == 1.006


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("machines: {a: {on_demand: -1}}", "machines.a.on_demand: .*greater than or equal to 0.*Expected machines"),
        ("a: 1", "machines: Field required"),
        ("[", "cannot be read"),
    ],
)
def test_a_file_that_is_no_price_list_is_refused(text: str, message: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_prices(mine)


def test_a_node_is_known_by_its_group_or_else_by_its_host() -> None:
    description = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    node = {"Labels": {"ray.io/node-group": "spot_g6"}, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    assert machine_of(node, description) == SPOT
    ours = {"Labels": {}, "Resources": {"CPU": 8.0}, "NodeManagerHostname": "our-box"}
    assert machine_of(ours, {}) == Machine(name="our-box", spot=False, cpus=8, gpus=0)
    pod = {"Labels": {"ray.io/node-group": "gpus", "ray.io/market-type": "spot"}, "Resources": {"GPU": 1.0}}
    assert machine_of(pod, {}) == Machine(name="gpus", spot=True, cpus=0, gpus=1)


def test_every_gpu_with_a_price_has_a_rate_and_half_a_rate_is_refused(tmp_path: Path) -> None:
    for name, price in read_prices().prices.items():
        assert (price.gpus > 0) == (price.tflops is not None), name
    mine = tmp_path / "mine.yaml"
    mine.write_text("machines: {a: {gpus: 1, tflops: 10}}")
    with pytest.raises(ValueError, match=r"machines.a: .*tflops and gb_per_second .* one of them is missing"):
        read_prices(mine)
