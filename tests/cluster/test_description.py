from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster import description
from cluster.capacity import Capacity, NodeType, promised_capacity
from cluster.description import read_description
from cluster.prices import described_machines, machine_of
from cluster.providers import kuberay
from cluster.providers.kuberay import describe_raycluster
from tests.support.paths import ROOT

HEAD = Capacity(fixed=[NodeType(count=1, cpus=0, gpus=0)])


def raycluster(name: str) -> dict[str, Any]:
    """What the operator makes of a file of ours, as Kubernetes answers it."""
    file = yaml.safe_load((ROOT / "cluster" / "kuberay" / f"{name}.yaml").read_text())
    spec = file["spec"].get("rayClusterSpec", file["spec"])
    return {"metadata": {"name": "zskt", "namespace": "science"}, "spec": spec}


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The head's pod: no file of ``ray up``, and the variables of KubeRay."""
    monkeypatch.setattr(description, "BOOTSTRAP_CONFIG", tmp_path / "nothing.yaml")
    monkeypatch.setenv("RAY_CLUSTER_NAME", "zskt-x7k2p")
    monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", "science")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_on_kubernetes_a_sweep_counts_on_the_pods_that_may_be_started(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get(url: str, **_: Any) -> Any:
        asked.append(url)
        answer = requests.Response()
        answer.status_code = 200
        answer.json = lambda **_: raycluster(name)  # type: ignore[method-assign]
        return answer

    monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.requests.get", get)
    monkeypatch.setattr("ray.autoscaler._private.kuberay.node_provider.load_k8s_secrets", lambda: ({}, "ca.crt", None))
    found = read_description()
    assert [url.partition(":443")[2] for url in asked] == ["/apis/ray.io/v1/namespaces/science/rayclusters/zskt-x7k2p"]
    capacity = promised_capacity(found, HEAD)
    assert capacity is not None
    assert capacity.largest_gpus == 1  # or `gpu: auto` would mean none
    assert capacity.trials(cpus=1, gpus=1) == 10
    assert capacity.trials(cpus=1, gpus=0.5) == 20
    assert capacity.max_nodes == 11


@pytest.mark.usefixtures("pod")
def test_where_kubernetes_does_not_tell_the_pods_that_are_there_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> Any:
        raise requests.HTTPError("403 Client Error: Forbidden")

    monkeypatch.setattr(kuberay, "_fetch_raycluster", refuse)
    with caplog.at_level("WARNING", logger="zskt.cluster"):
        assert read_description() == {}
    assert "403 Client Error: Forbidden" in caplog.text
    assert "needs the right to get rayclusters" in caplog.text


@pytest.mark.usefixtures("pod")
def test_pods_that_nobody_starts_are_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    still = raycluster("raycluster")
    still["spec"]["enableInTreeAutoscaling"] = False
    monkeypatch.setattr(kuberay, "_fetch_raycluster", lambda _: still)
    assert read_description() == {}
    assert len(described_machines(describe_raycluster(still))) == 3, "but are there, and have a price"


def test_elsewhere_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(description, "BOOTSTRAP_CONFIG", tmp_path / "nothing.yaml")
    monkeypatch.delenv("RAY_CLUSTER_NAME", raising=False)
    assert read_description() == {}
    (tmp_path / "nothing.yaml").write_text("max_workers: 3")
    assert read_description() == {"max_workers": 3}, "what Ray has begun with is as it is"


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_spot_pods_are_priced_as_such_before_and_after_they_start(name: str) -> None:
    told = describe_raycluster(raycluster(name))
    machines = described_machines(told)
    assert {group: machine.spot for group, machine in machines.items() if machine.cpus} == {
        "spot": True,
        "on-demand": False,
    }
    node = {"Labels": {"ray.io/node-group": "spot", "ray.io/market-type": "spot"}, "Resources": {"CPU": 3, "GPU": 1}}
    assert machine_of(node, told) == machine_of(node, {}) == machines["spot"]
