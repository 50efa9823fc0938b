from __future__ import annotations

from pathlib import Path

import pytest

from cluster.description import read_description_file
from cluster.prices import Machine, described_machines, read_prices
from orchestrator.costs.pricing import read_cluster
from orchestrator.errors import ConfigError
from tests.support.paths import ROOT

OLD = """
cluster_name: demo
provider: {type: aws, region: us-west-2}
head_node: {InstanceType: m5.large}
worker_nodes: {InstanceType: g4dn.xlarge, InstanceMarketOptions: {MarketType: spot}}
"""
RAYCLUSTER = """
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: zskt}
spec:
  headGroupSpec: {rayStartParams: {num-cpus: "0"}, template: {spec: {containers: [{name: head}]}}}
  workerGroupSpecs:
    - groupName: four
      replicas: 4
      rayStartParams: {}
      template: {spec: {containers: [{name: worker, resources: {requests: {cpu: "3"}, limits: {nvidia.com/gpu: "1"}}}]}}
"""
SERVICE_ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: zskt}\n"


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster/gcp.yaml", "cluster/kuberay/raycluster.yaml"])
def test_our_own_files_are_understood(file: str) -> None:
    machines = described_machines(read_description_file(ROOT / file))
    assert [machine for machine in machines.values() if machine.gpus == 1]
    assert [machine for machine in machines.values() if machine.spot]


def test_a_job_has_the_machines_of_its_cluster() -> None:
    cluster, job = (
        read_description_file(ROOT / "cluster" / "kuberay" / f"{name}.yaml") for name in ("raycluster", "rayjob")
    )
    assert described_machines(job) == described_machines(cluster) != {}


def test_machines_of_ones_own_go_by_their_hosts_and_are_as_large_as_their_prices_say(tmp_path: Path) -> None:
    description = read_description_file(ROOT / "cluster" / "local.yaml")
    hosts = ["192.0.2.10", "192.0.2.11", "192.0.2.12"]
    assert [machine.name for machine in described_machines(description).values()] == hosts
    mine = tmp_path / "mine.yaml"
    mine.write_text("machines: {192.0.2.11: {cpus: 16, gpus: 2, on_demand: 0.3}}")
    machines = described_machines(description, read_prices(mine))
    assert machines["192.0.2.11"] == Machine(name="192.0.2.11", spot=False, cpus=16, gpus=2)
    assert machines["192.0.2.10"].cpus == 0


def test_the_cluster_is_found_among_other_resources_and_in_a_list(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("\n---\n".join(["", SERVICE_ACCOUNT, RAYCLUSTER]))
    among = described_machines(read_description_file(file))
    assert among["four"] == Machine(name="four", spot=False, cpus=3, gpus=1)
    indented = "".join(f"  {line}\n" for line in RAYCLUSTER.strip().splitlines())
    file.write_text(f"kind: List\nitems:\n- {indented.strip()}\n")
    assert described_machines(read_description_file(file)) == among


def test_sizes_that_are_left_to_the_cloud_are_those_of_the_price_list(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(
        "provider: {type: aws, region: a}\navailable_node_types: {gpu: {node_config: {InstanceType: g6.4xlarge}}}"
    )
    machines = described_machines(read_description_file(file), read_prices())
    assert machines == {"gpu": Machine(name="g6.4xlarge", spot=False, cpus=16, gpus=1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty; expected what ray up takes"),
        ("# only a comment\n", "the file is empty"),
        ("[1, 2]", r"found list '\[1, 2\]'; expected what ray up takes"),
        ("cluster", "found str 'cluster'; expected"),
        ("cluster_name: x", "it names no machines; expected .*available_node_types.*RayCluster"),
        ("provider: {type: aws}", "provider: {type: aws} without region"),
        ("provider: {type: aws, region: us-west-2}", "it names no machines; expected"),
        (OLD, "head_node and worker_nodes are in Ray's old format, .*; expected"),
        ("provider: aws\navailable_node_types: {}", "provider='aws': .*; expected"),
        ("provider: {type: aws, region: a}\navailable_node_types: [a]", "available_node_types=.*; expected"),
        (
            "provider: {type: aws, region: a}\navailable_node_types: {a: }",
            "available_node_types.a='None': .*; expected",
        ),
        (
            "provider: {type: aws, region: a}\navailable_node_types: {a: {resources: {CPU: many}}}",
            "resources.CPU='many'",
        ),
        (
            "provider: {type: aws, region: a}\navailable_node_types: {a: {node_config: {InstanceMarketOptions: [1]}}}",
            "MarketOptions",
        ),
        ("provider: {type: local}", "without head_ip"),
        ("provider: {type: local, head_ip: a, worker_ips: b}", "provider.worker_ips='b'"),
        ("a: 1\n---\nb: 2", "found 2 documents"),
        (SERVICE_ACCOUNT, "found no cluster among the resources ServiceAccount"),
        (f"{RAYCLUSTER}\n---\n{RAYCLUSTER}", "found 2 clusters, where one is expected"),
        (
            "kind: RayCluster",
            "spec of the RayCluster is not understood .*; expected headGroupSpec and workerGroupSpecs",
        ),
        ("kind: RayJob\nspec: {entrypoint: x}", "spec.rayClusterSpec of the RayJob is not understood"),
        (RAYCLUSTER.replace("groupName", "name"), "groupName is missing"),
        ("kind: List\nitems: 3", "found no cluster"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_describes_no_cluster_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "strange.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"--cluster .*strange.yaml: .*{message}") as caught:
        read_cluster(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cluster.yaml: the file is not UTF-8 text"):
        read_cluster(file)
