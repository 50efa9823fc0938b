"""The files by which clusters are started, as far as they can be checked without a cloud."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.preemption import FLAG
from cluster.prices import described_machines
from cluster.providers.registry import provider_of
from tests.support.missing import HOSTS, skip_without
from tests.support.paths import ROOT

CLUSTERS = ("cluster.yaml", "cluster/gcp.yaml", "cluster/local.yaml")


def read(file: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return config


@pytest.mark.parametrize("file", CLUSTERS)
def test_rays_schema_accepts_them(file: str) -> None:
    validate_config(prepare_config(copy.deepcopy(read(file))))


@pytest.mark.parametrize("file", CLUSTERS)
def test_all_of_the_packages_is_copied_to_the_nodes_and_no_data_set(file: str, tmp_path: Path) -> None:
    skip_without(("rsync",), HOSTS)
    checkout, config = tmp_path / "checkout", read(file)
    ours = {
        path.relative_to(ROOT)
        for package in ("cluster", "orchestrator", "search_spaces", "trainables")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for path in [*ours, *map(Path, ("data/cifar10.bin", "runs/results/v1/a.parquet", ".venv/bin/python", ".git/HEAD"))]:
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).touch()
    (checkout / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    # Files made from an earlier version of ours leave out every folder called data.
    patterns = {*config["rsync_exclude"], "**/data/**"}
    rules = [f"--exclude={pattern}" for pattern in sorted(patterns)]
    rules += [f"--filter=dir-merge,- {name}" for name in config["rsync_filter"]]  # as Ray has it
    command = ["rsync", "--archive", *rules, f"{checkout}/", f"{tmp_path / 'node'}/"]
    subprocess.run(command, check=True)
    copied = {path.relative_to(tmp_path / "node") for path in (tmp_path / "node").rglob("*") if path.is_file()}
    assert copied == {*ours, Path(".gitignore")}


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster/gcp.yaml"])
def test_rented_machines_come_and_go_and_are_watched(file: str) -> None:
    config = read(file)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}, "no trial lands on the head"
    assert all(node["min_workers"] == 0 for node in types.values())
    assert config["provider"]["cache_stopped_nodes"] is False
    watcher = config["worker_start_ray_commands"][-1]
    assert f"python -m cluster.preemption {config['provider']['type']}" in watcher
    assert provider_of(config).preemption is not None
    assert all("--dashboard-host=127.0.0.1" in line for line in config["head_start_ray_commands"][1:])


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster/gcp.yaml"])
@pytest.mark.parametrize(("sees", "code"), [(True, 0), (False, 1)])
def test_a_rented_gpu_that_torch_does_not_see_ends_the_set_up(file: str, sees: bool, code: int, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(f"class cuda:\n    is_available = staticmethod(lambda: {sees})\n")
    merged = prepare_config(copy.deepcopy(read(file)))["worker_setup_commands"]
    assert "pip install" in merged[0], "ours comes after what it needs"
    command = merged[-1].replace("python ", f"{sys.executable} ", 1)
    ended = subprocess.run(
        ["bash", "-c", command], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ("torch does not see the GPU" in ended.stderr) == (not sees)


def test_google_cloud_has_a_driver_as_new_as_torch_wants_before_the_container_and_two_accounts() -> None:
    cuda = re.search(r"^cuda-toolkit==(\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert cuda
    needed = {"12": 525, "13": 580}[cuda[1]]  # NVIDIA's table of the oldest driver for each CUDA
    config = read("cluster/gcp.yaml")
    for name, node in config["available_node_types"].items():
        image = node["node_config"]["disks"][0]["initializeParams"]["sourceImage"]
        assert int(image.rpartition("nvidia-")[2]) >= needed
        (account,) = node["node_config"]["serviceAccounts"]
        assert account["email"].partition("@")[0] == ("zskt-head" if name == "head" else "zskt-worker")
        if name != "head":
            assert any("nvidia-smi" in line for line in node["initialization_commands"])


@pytest.mark.parametrize("file", ["cluster.yaml", "cluster/gcp.yaml"])
def test_spot_machines_come_first(file: str) -> None:
    config = read(file)
    machines = described_machines(config)
    priorities = {
        name: node["priority"] for name, node in config["available_node_types"].items() if node["resources"]["GPU"]
    }
    spot = {name for name in priorities if machines[name].spot}
    assert spot and set(priorities) - spot
    assert min(priorities[name] for name in spot) > max(priorities[name] for name in set(priorities) - spot)


def test_on_aws_every_node_may_reach_the_bucket_and_no_metadata_without_a_token() -> None:
    nodes = read("cluster.yaml")["available_node_types"]
    markets = set()
    for name, node in nodes.items():
        config = node["node_config"]
        assert config["IamInstanceProfile"]["Name"] == ("zskt-head" if name == "head" else "zskt-worker")
        assert config["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
        }
        markets.add((config["InstanceType"], "InstanceMarketOptions" in config))
    assert markets == {("m6i.xlarge", False), ("g6.xlarge", True), ("g5.xlarge", True), ("g6.xlarge", False)}


def test_images_have_the_locked_ray() -> None:
    locked = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert locked
    files = [
        *CLUSTERS[:2],
        "cluster/Dockerfile",
        *(f"cluster/kuberay/{name}.yaml" for name in ("raycluster", "rayjob")),
    ]
    for file in files:
        found = re.findall(r"rayproject/ray:([\d.]+)|rayVersion: ([\d.]+)", (ROOT / file).read_text())
        assert found, file
        assert {version for pair in found for version in pair if version} == {locked[1]}, file


KUBERAY_FIELDS = {
    "RayJob": "entrypoint submissionMode shutdownAfterJobFinishes ttlSecondsAfterFinished backoffLimit rayClusterSpec",
    "RayCluster": "rayVersion enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs",
    "head": "rayStartParams template",
    "group": "groupName priority minReplicas maxReplicas rayStartParams template",
    "pod": "serviceAccountName terminationGracePeriodSeconds nodeSelector tolerations containers",
    "container": "name image env lifecycle resources",
}
"""Of KubeRay 1.7 and Kubernetes, as far as we use them: kubectl refuses a file with any other."""

ALLOCATABLE = {"cpu": 3.9 - 0.5, "memory": 12.9 - 1}
"""Cores and GiB that a node with 4 and 16 has for pods, less what each node of a cluster runs besides."""


def known(kind: str, fields: dict[str, Any]) -> None:
    assert set(fields) <= set(KUBERAY_FIELDS[kind].split()), kind


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_on_kubernetes_too(name: str) -> None:
    file = read(f"cluster/kuberay/{name}.yaml")
    if name == "rayjob":
        known("RayJob", file["spec"])
    spec = file["spec"].get("rayClusterSpec", file["spec"])
    known("RayCluster", spec)
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2", "the first knows no priority"
    head = spec["headGroupSpec"]
    known("head", head)
    assert head["rayStartParams"]["num-cpus"] == "0"
    spot, on_demand = spec["workerGroupSpecs"]
    assert spot["priority"] > on_demand["priority"]
    for group in (spot, on_demand):
        known("group", group)
        assert group["minReplicas"] == 0
        pod = group["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 60  # in which `ray start --block` drains the node
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        # `ray start --block` only drains; that trials save is ours to see to.
        told = container["lifecycle"]["preStop"]["exec"]["command"]
        assert told == ["touch", f"/tmp/{FLAG.name}"]
        market = {variable["name"]: variable["value"] for variable in container.get("env", ())}
        assert market == ({"RAY_NODE_MARKET_TYPE": "spot"} if group is spot else {})
    for group in (head, spot, on_demand):
        pod = group["template"]["spec"]
        known("pod", pod)
        (container,) = pod["containers"]
        known("container", container)
        requests = container["resources"]["requests"]
        assert float(requests["cpu"]) <= ALLOCATABLE["cpu"], "a pod that fits on no node waits for ever"
        assert float(requests["memory"].removesuffix("Gi")) <= ALLOCATABLE["memory"]
        assert container["resources"]["limits"]["memory"] == requests["memory"]


def test_policies_are_least_privilege_and_well_formed() -> None:
    for file in (ROOT / "cluster" / "iam").glob("*.json"):
        policy = json.loads(file.read_text())
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            said = statement["Action"]
            actions = [said] if isinstance(said, str) else said
            assert all(action.count("*") == (action == "ec2:Describe*") for action in actions), (
                "no wild cards but to look"
            )
            if not set(actions) & {"ec2:Describe*", "sts:AssumeRole"}:
                assert statement["Resource"] != "*" or "Condition" in statement


def test_the_head_can_neither_end_nor_tag_machines_of_others() -> None:
    head = json.loads((ROOT / "cluster" / "iam" / "head.json").read_text())
    name = read("cluster.yaml")["cluster_name"]
    conditions: dict[str, list[dict[str, str]]] = {}
    for statement in head["Statement"]:
        said = statement["Action"]
        for action in [said] if isinstance(said, str) else said:
            conditions.setdefault(action, []).append(statement.get("Condition", {}).get("StringEquals", {}))
    own = {"aws:ResourceTag/ray-cluster-name": name}  # Ray tags its machines again as they come up
    # A head that could put this tag on any machine could end any machine.
    tagging, tagging_again = conditions["ec2:CreateTags"]
    assert tagging["ec2:CreateAction"] == "RunInstances"
    assert [tagging_again] == conditions["ec2:TerminateInstances"] == [own]
    # Ray stops and starts machines only with cache_stopped_nodes.
    assert not {"ec2:StopInstances", "ec2:StartInstances"} & conditions.keys()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes a new key into ~/.ssh
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        yield


def give_rights() -> None:
    """What docs/cluster.md has a user do once."""
    iam = boto3.client("iam")
    policies = {name: (ROOT / "cluster" / "iam" / f"{name}.json").read_text() for name in ("trust", "storage", "head")}
    for role, names in (("zskt-head", ("storage", "head")), ("zskt-worker", ("storage",))):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=policies["trust"])
        for name in names:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policies[name])
        iam.create_instance_profile(InstanceProfileName=role)
        iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


@pytest.mark.usefixtures("aws")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_aws_takes_what_ray_asks_of_it() -> None:
    config = prepare_config(copy.deepcopy(read("cluster.yaml")))
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    image = ec2.describe_images()["Images"][0]["ImageId"]
    give_rights()
    for node in config["available_node_types"].values():
        node["node_config"]["ImageId"] = image
    config = bootstrap_aws(config)
    rules = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["zskt"]}])["SecurityGroups"]
    from_outside = [rule for rule in rules[0]["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name in ("head", "spot_g6", "on_demand_g6"):
        provider.create_node(config["available_node_types"][name]["node_config"], {"ray-node-name": name}, 1)
    reservations = ec2.describe_instances()["Reservations"]
    instances = [instance for reservation in reservations for instance in reservation["Instances"]]
    assert sorted((i["InstanceType"], i.get("InstanceLifecycle", "on demand")) for i in instances) == [
        ("g6.xlarge", "on demand"),
        ("g6.xlarge", "spot"),
        ("m6i.xlarge", "on demand"),
    ]
