"""What differs between clouds, and what holds for one of which nothing is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from cluster import preemption
from cluster.capacity import Capacity, NodeType, machines_to_come, promised_capacity
from cluster.description import read_description_file
from cluster.prices import described_machines
from cluster.providers.aws import QUOTA_CODE, spot_quota
from cluster.providers.base import QuotaError
from cluster.providers.registry import PROVIDERS, provider_of

SPOT_WORDS = {
    "aws": {"InstanceType": "g6.xlarge", "InstanceMarketOptions": {"MarketType": "spot"}},
    "gcp": {"machineType": "projects/p/zones/z/machineTypes/g2-standard-4", "scheduling": [{"preemptible": True}]},
}
TYPES = {"aws": "g6.xlarge", "gcp": "g2-standard-4"}


@pytest.mark.parametrize("cloud", sorted(SPOT_WORDS))
@pytest.mark.parametrize("known", [True, False])
def test_a_type_of_machine_is_read_by_its_clouds_words_also_where_another_cloud_has_them(
    cloud: str, known: bool
) -> None:
    types = {"spot": {"node_config": SPOT_WORDS[cloud]}, "other": {}}
    machines = described_machines({"provider": {"type": cloud if known else "aliyun"}, "available_node_types": types})
    assert {group: (machine.name, machine.spot) for group, machine in machines.items()} == {
        "spot": (TYPES[cloud], True),
        "other": ("other", False),
    }


def test_every_cloud_is_found_by_its_name_and_has_a_name_in_prose() -> None:
    for name, provider in PROVIDERS.items():
        assert provider_of({"provider": {"type": name}}) is provider
        assert provider.name == name and provider.title
    assert provider_of({}).name == ""


def test_google_says_spot_in_two_ways() -> None:
    assert PROVIDERS["gcp"].is_spot({"scheduling": {"provisioningModel": "SPOT"}})
    assert not PROVIDERS["gcp"].is_spot({"scheduling": {"provisioningModel": "STANDARD"}})


def test_machines_that_one_has_are_counted_by_their_hosts() -> None:
    description = {"provider": {"type": "local", "head_ip": "a", "worker_ips": ["b", "c"]}}
    there = Capacity(fixed=[NodeType(count=1, cpus=8, gpus=1)])
    assert machines_to_come(description, there) == 2
    promised = promised_capacity(description, there)
    assert promised is not None and promised.max_nodes == 3
    assert machines_to_come({"provider": {"type": "aws"}}, there) == 0


class Quotas:
    """AWS's service, as far as it is asked."""

    def __init__(self, answer: Exception | float) -> None:
        self.answer = answer

    def get_service_quota(self, **asked: str) -> dict[str, Any]:
        assert asked == {"ServiceCode": "ec2", "QuotaCode": QUOTA_CODE}
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Quota": {"Value": self.answer}}


def test_the_spot_quota_of_aws_is_its_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Quotas(64.0))
    assert spot_quota("us-west-2") == 64


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no\nbecause"}}, "GetServiceQuota"),
        NoCredentialsError(),
    ],
)
def test_a_quota_that_may_not_be_asked_for_is_told_in_a_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Quotas(error))
    with pytest.raises(QuotaError) as caught:
        spot_quota("us-west-2")
    assert str(caught.value) and "\n" not in str(caught.value)


OWN = """
from cluster.providers.base import Preemption, Provider

class Rented(Provider):
    name, title = "rented", "Rented"
    preemption = Preemption(endpoint="http://nowhere", deadline=5, notice=lambda metadata: None)

    def machine_type(self, node_config):
        return node_config.get("size")

NOTHING = 7
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    file = tmp_path / "clouds.py"
    file.write_text(OWN)
    return file


def test_a_cloud_of_a_file_is_named_where_any_other_is(own_file: Path, tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    kind = "available_node_types: {big: {node_config: {size: XXL}}}"
    cluster.write_text(f"provider: {{type: '{own_file}:Rented'}}\n{kind}\n")
    assert described_machines(read_description_file(cluster))["big"].name == "XXL"
    for name, message in (("gone.py:Rented", "there is no file gone.py"), (f"{own_file}:NOTHING", "found 7")):
        cluster.write_text(f"provider: {{type: '{name}'}}\n{kind}\n")
        with pytest.raises(ValueError, match=message):
            read_description_file(cluster)


def test_an_installed_package_brings_a_cloud(
    own_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_file.parent / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[zskt.providers]\nrented = clouds:Rented\naws = clouds:Rented\n")
    assert provider_of({"provider": {"type": "rented"}}).title == ""
    monkeypatch.syspath_prepend(str(own_file.parent))
    monkeypatch.delitem(sys.modules, "clouds", raising=False)
    assert provider_of({"provider": {"type": "rented"}}).title == "Rented"
    assert provider_of({"provider": {"type": "aws"}}) is PROVIDERS["aws"], "a name of ours stays ours"
    with pytest.raises(SystemExit):
        preemption.main(["elsewhere"])
    assert "choose from aws, gcp, rented, FILE.py:CLASS" in capsys.readouterr().err


def test_a_machine_is_watched_for_the_notice_of_a_cloud_of_a_file(
    own_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watched: list[Any] = []
    monkeypatch.setattr(preemption, "watch", lambda notice, **how: watched.append(notice()))
    preemption.main([f"{own_file}:Rented"])
    assert watched == [None]
    for cloud in ("kuberay", "gone.py:Rented"):
        with pytest.raises(SystemExit):
            preemption.main([cloud])
    assert "there is no file gone.py" in capsys.readouterr().err
