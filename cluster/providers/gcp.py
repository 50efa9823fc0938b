"""Google Cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from cluster.providers.base import Metadata, Part, Preemption, Provider


def notice(metadata: Metadata) -> str | None:
    """Return ``preempted`` if this machine is about to be preempted, else None. Google gives notice 30 seconds ahead.

    Raises:
        OSError: the metadata cannot be read.
    """
    said = metadata.get("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return "preempted" if said == "TRUE" else None


class _NodeConfig(Part):
    machine_type: str | None = Field(default=None, alias="machineType")
    scheduling: list[dict[str, Any]] | dict[str, Any] = Field(default_factory=dict)


class Gcp(Provider):
    """Google Cloud: machines of Compute Engine."""

    name = "gcp"
    title = "Google Cloud"
    node_config = _NodeConfig
    preemption = Preemption(endpoint="http://metadata.google.internal", deadline=20, notice=notice)

    def machine_type(self, node_config: Mapping[str, Any]) -> str | None:
        named = node_config.get("machineType")
        return str(named).rpartition("/")[2] if named else None  # Google also accepts the type's address

    def is_spot(self, node_config: Mapping[str, Any]) -> bool:
        scheduling = node_config.get("scheduling", [])
        settings = scheduling if isinstance(scheduling, list) else [scheduling]  # Ray's examples use a list
        return any(s.get("preemptible") or s.get("provisioningModel") == "SPOT" for s in settings)
