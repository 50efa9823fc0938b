"""Amazon Web Services."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from cluster.providers.base import Metadata, Part, Preemption, Provider, QuotaError, SpotQuota

QUOTA_CODE = "L-3819A6DF"
"""AWS's code for "All G and VT Spot Instance Requests", counted in CPU cores."""

TOKEN_SECONDS = 21600


def notice(metadata: Metadata) -> str | None:
    """Return the action that AWS announces for this machine and its time; None if none is announced.

    AWS announces a preemption two minutes ahead.

    Raises:
        OSError, ValueError: the metadata cannot be read.
    """
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    token = metadata.get("/latest/api/token", seconds, method="PUT")
    said = metadata.get("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": str(token)})
    if said is None:
        return None
    action = json.loads(said)
    return f"{action['action']} at {action['time']}"


def spot_quota(region: str) -> float:
    """Return how many CPU cores of spot instances with GPUs this AWS account may use in a region.

    Raises:
        QuotaError: the quota cannot be read.
    """
    # Imported here because boto3 takes a second to load, and only AWS needs it.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    try:
        client = boto3.client("service-quotas", region_name=region, config=patience)
        answer = client.get_service_quota(ServiceCode="ec2", QuotaCode=QUOTA_CODE)
    except (BotoCoreError, ClientError) as error:
        raise QuotaError(str(error).partition("\n")[0]) from error
    return float(answer["Quota"]["Value"])


class _NodeConfig(Part):
    InstanceType: str | None = None
    InstanceMarketOptions: dict[str, Any] = Field(default_factory=dict)


class Aws(Provider):
    """Amazon Web Services: machines of EC2."""

    name = "aws"
    title = "AWS"
    required: ClassVar[Mapping[str, str]] = {"region": "one, such as us-west-2"}
    node_config = _NodeConfig
    preemption = Preemption(endpoint="http://169.254.169.254", deadline=90, notice=notice)
    spot_quota = SpotQuota(
        called='"All G and VT Spot Instance Requests" under Service Quotas',
        ask=spot_quota,
    )

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        found: str | None = node_config.get("InstanceType")
        return found

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        return bool(node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot")
